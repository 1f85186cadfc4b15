"""The clients of the floods: many connections of one kind, each kind in its own thread.

Each flood connects from its own network, 127.<network>.0.0/24, so that the server's limits by
address apply to it and not to other clients.
"""

import asyncio
import contextlib
import itertools
import json
import socket
import threading
import time
from collections import Counter

from bench import wire

from .actions import UPGRADE

OPENED_PER_SECOND = 500
OPEN_TIMEOUT = 10  # seconds after which a flood has begun, whatever the server has accepted
BYTE_INTERVAL = 2  # seconds between two bytes of a slow client
HEADS = (b"GET /", b"GET /api/score/top10 HTTP/1.1\r\nHost: scoreboard\r\nX-Endless: ")
BODY_HEAD = b"POST /api/score/update HTTP/1.1\r\nHost: scoreboard\r\n%s\r\n\r\n"
BODIES = (
    (BODY_HEAD % b"Content-Length: 60000", b" "),
    (BODY_HEAD % b"Transfer-Encoding: chunked", b"1\r\n \r\n"),
)
BAD_TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIx{:08d}In0.c2lnbmF0dXJl"
PIPELINED = 256


class Flood:
    """Keeps `count` connections open, and replaces those that the server closes.

    `talk(flood, reader, writer, number)` uses a connection until the server closes it. While
    `is_holding`, no connection is opened and no request is sent; slow clients continue.
    """

    def __init__(self, server, network, talk, count, addresses=8):
        self.server, self.count = server, count
        self.counts, self.numbers = Counter(), itertools.count()
        self.has_opened = self.is_holding = self._is_ended = False
        self._network, self._talk, self._addresses = network, talk, addresses
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def start(self):
        self._thread.start()

    def end(self):
        """Close all connections. Blocks until the thread has ended."""
        self._is_ended = True
        if self._thread.ident:  # it was started
            self._thread.join()

    async def _run(self):
        deadline = time.monotonic() + OPEN_TIMEOUT
        tasks = [asyncio.create_task(self._keep_open(number)) for number in range(self.count)]
        while not self._is_ended:
            await asyncio.sleep(0.1)
            self.has_opened = self.counts["opened"] >= self.count or time.monotonic() > deadline
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep_open(self, number):
        await asyncio.sleep(number / OPENED_PER_SECOND)
        while not self.is_holding:
            with contextlib.suppress(OSError, EOFError):
                reader, writer = await asyncio.open_connection(sock=await self._connect(number))
                self.counts["opened"] += 1
                with contextlib.closing(writer):
                    await self._talk(self, reader, writer, number)
            self.counts["closed by the server"] += 1
            await asyncio.sleep(self.count / OPENED_PER_SECOND)

    async def _connect(self, number):
        opened = socket.socket()
        opened.setblocking(False)
        opened.bind((f"127.{self._network}.0.{1 + number % self._addresses}", 0))
        await asyncio.get_running_loop().sock_connect(opened, ("127.0.0.1", self.server.port))
        return opened


async def idle(flood, reader, writer, number):
    """2,000 connections that send nothing."""
    await reader.read()


async def slow_heads(flood, reader, writer, number):
    """500 requests that send a byte of the head every two seconds and never complete it."""
    writer.write(HEADS[number % 2])
    await _send_slowly(reader, writer, b"a")


async def slow_bodies(flood, reader, writer, number):
    """500 requests that send a byte or a chunk of the body every two seconds."""
    head, part = BODIES[number % 2]
    writer.write(head)
    await _send_slowly(reader, writer, part)


async def unread_subscriptions(flood, reader, writer, number):
    """500 subscribers, half by Socket.IO, that never read the messages."""
    # A small buffer, so that the server soon detects that the client does not read.
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    is_socketio, token = number % 2, flood.server.token
    path = "/?EIO=4&transport=websocket" if is_socketio else f"?token={token}"
    writer.write(f"GET /ws/scoreboard{path} HTTP/1.1\r\n".encode() + UPGRADE)
    await reader.readuntil(b"\r\n\r\n")
    if is_socketio:
        writer.write(_connect_packet(token))
    flood.counts["subscribed"] += 1
    writer.transport.pause_reading()
    await asyncio.Event().wait()  # the end of the connection would show only by reading


async def bad_tokens(flood, reader, writer, number):
    """64 connections of one address that send updates with bad tokens, one after the other."""
    update = {"user_id": flood.server.players[0], "score_value": 1, "timestamp": "2026-01-01"}
    body = json.dumps(update).encode()
    while not flood.is_holding:
        token = BAD_TOKEN.format(next(flood.numbers))
        writer.write(wire.request("POST", "/api/score/update", flood.server.port, token, body))
        flood.counts[await _status(reader)] += 1
    await reader.read()


async def bad_connects(flood, reader, writer, number):
    """64 WebSockets of one address that send Socket.IO CONNECTs with bad tokens."""
    writer.write(b"GET /ws/scoreboard/?EIO=4&transport=websocket HTTP/1.1\r\n" + UPGRADE)
    await reader.readuntil(b"\r\n\r\n")
    buffer = bytearray()
    while data := await reader.read(65536):
        buffer += data
        for payload in wire.frames(buffer):
            kind = payload[:2].decode()
            flood.counts[kind] += 1
            if kind in ("0{", "44") and not flood.is_holding:
                writer.write(_connect_packet(BAD_TOKEN.format(next(flood.numbers))))


async def pipelining(flood, reader, writer, number):
    """4 connections that send top 10 requests, always 256 ahead of the responses."""
    request = wire.request("GET", "/api/score/top10", flood.server.port, "")
    writer.write(request * PIPELINED)
    while not flood.is_holding:
        flood.counts[await _status(reader)] += 1
        writer.write(request)
    await reader.read()


# The function, number of connections and number of addresses of each flood.
FLOODS = {
    "idle": (idle, 2000, 8),
    "slow-heads": (slow_heads, 500, 8),
    "slow-bodies": (slow_bodies, 500, 8),
    "unread-subscriptions": (unread_subscriptions, 500, 8),
    "bad-tokens": (bad_tokens, 64, 1),
    "bad-connects": (bad_connects, 64, 1),
    "pipelining": (pipelining, 4, 1),
}


async def _send_slowly(reader, writer, data):
    """Send the data at every interval until the server closes the connection."""
    closed = asyncio.ensure_future(reader.read())
    while not closed.done():
        writer.write(data)
        await asyncio.wait([closed], timeout=BYTE_INTERVAL)
    await closed


async def _status(reader):
    """Read one response and return its status as text."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0])
    await reader.readexactly(length)
    return head[9:12].decode()


def _connect_packet(token):
    """Return the frame with which a Socket.IO client authenticates."""
    return wire.text_frame(b"40" + json.dumps({"token": token}).encode())
