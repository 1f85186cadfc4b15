"""The clients of the floods: many connections of one kind, in a thread of their own.

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
from bench.protocols import Plain, SocketIo

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

    A subclass defines `talk`, which returns when the server has closed the connection. While
    `is_holding`, no connection is opened and no request is sent; slow clients continue.
    """

    count = 500
    addresses = 8
    receive_buffer = 0

    def __init__(self, server, network, count=None):
        self.server, self.count, self._network = server, count or self.count, network
        self.counts, self.numbers = Counter(), itertools.count()
        self.has_opened = self.is_holding = self._is_ended = False
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def start(self):
        self._thread.start()

    def end(self):
        """Close all connections. Blocks until the thread has ended."""
        self._is_ended = True
        if self._thread.ident:  # it was started
            self._thread.join()

    async def talk(self, reader, writer, number):
        """Use one connection until the server closes it."""
        raise NotImplementedError

    async def send_slowly(self, reader, writer, data):
        """Send the data at every interval until the server closes the connection."""
        closed = asyncio.ensure_future(reader.read())
        while not closed.done():
            writer.write(data)
            await asyncio.wait([closed], timeout=BYTE_INTERVAL)
        await closed

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
                    await self.talk(reader, writer, number)
            self.counts["closed by the server"] += 1
            await asyncio.sleep(self.count / OPENED_PER_SECOND)

    async def _connect(self, number):
        opened = socket.socket()
        opened.setblocking(False)
        if self.receive_buffer:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_buffer)
        opened.bind((f"127.{self._network}.0.{1 + number % self.addresses}", 0))
        await asyncio.get_running_loop().sock_connect(opened, ("127.0.0.1", self.server.port))
        return opened


class Idle(Flood):
    """2,000 connections that send nothing."""

    count = 2000

    async def talk(self, reader, writer, number):
        await reader.read()


class SlowHeads(Flood):
    """500 requests that send a byte of the head every two seconds and never complete it."""

    async def talk(self, reader, writer, number):
        writer.write(HEADS[number % 2])
        await self.send_slowly(reader, writer, b"a")


class SlowBodies(Flood):
    """500 requests that send a byte or a chunk of the body every two seconds."""

    async def talk(self, reader, writer, number):
        head, part = BODIES[number % 2]
        writer.write(head)
        await self.send_slowly(reader, writer, part)


class UnreadSubscriptions(Flood):
    """500 subscribers, half by Socket.IO, that never read the messages."""

    receive_buffer = 4096

    async def talk(self, reader, writer, number):
        protocol = (Plain, SocketIo)[number % 2]
        writer.write(protocol.handshake(self.server.port, self.server.token))
        await reader.readuntil(b"\r\n\r\n")
        if protocol is SocketIo:
            writer.write(SocketIo.connect_packet(self.server.token))
        self.counts["subscribed"] += 1
        writer.transport.pause_reading()
        await asyncio.Event().wait()  # the end of the connection would show only by reading


class BadTokens(Flood):
    """64 connections of one address that send updates with bad tokens, one after the other."""

    count = 64
    addresses = 1

    async def talk(self, reader, writer, number):
        while not self.is_holding:
            token = BAD_TOKEN.format(next(self.numbers))
            update = {
                "user_id": self.server.players[0],
                "score_value": 1,
                "timestamp": "2026-01-01",
            }
            body = json.dumps(update).encode()
            writer.write(wire.request("POST", "/api/score/update", self.server.port, token, body))
            self.counts[await _status(reader)] += 1
        await reader.read()


class BadConnects(Flood):
    """64 WebSockets of one address that send Socket.IO CONNECTs with bad tokens."""

    count = 64
    addresses = 1

    async def talk(self, reader, writer, number):
        writer.write(SocketIo.handshake(self.server.port, ""))
        await reader.readuntil(b"\r\n\r\n")
        buffer = bytearray()
        while data := await reader.read(65536):
            buffer += data
            for payload in wire.frames(buffer):
                self.counts[payload[:2].decode()] += 1
                is_answer = payload[:1] == b"0" or payload[:2] == b"44"
                if is_answer and not self.is_holding:
                    token = BAD_TOKEN.format(next(self.numbers))
                    writer.write(SocketIo.connect_packet(token))


class Pipelining(Flood):
    """4 connections that send top 10 requests, always 256 ahead of the responses."""

    count = 4
    addresses = 1

    async def talk(self, reader, writer, number):
        request = wire.request("GET", "/api/score/top10", self.server.port, "")
        writer.write(request * PIPELINED)
        while not self.is_holding:
            self.counts[await _status(reader)] += 1
            writer.write(request)
        await reader.read()


FLOODS = {
    "idle": Idle,
    "slow-heads": SlowHeads,
    "slow-bodies": SlowBodies,
    "unread-subscriptions": UnreadSubscriptions,
    "bad-tokens": BadTokens,
    "bad-connects": BadConnects,
    "pipelining": Pipelining,
}


async def _status(reader):
    """Read one response and return its status as text."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0])
    await reader.readexactly(length)
    return head[9:12].decode()
