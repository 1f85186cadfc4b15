"""Run many cheap connections in one loop: the base of every flood."""

import contextlib
import ctypes
import select
import socket
import struct
import time
from collections import Counter, deque
from dataclasses import dataclass

from bench import wire

READ_SIZE = 1 << 16
OPENING_TIMEOUT = 10  # seconds after which a flood counts as up, whatever the server has accepted
IP_BIND_ADDRESS_NO_PORT = 24  # Linux; Python has no constant for it
SO_ATTACH_FILTER = 26
_CLOSED = select.EPOLLHUP | select.EPOLLERR | select.EPOLLRDHUP


@dataclass(frozen=True)
class Target:
    """The port of the flooded server, a viewer token, and a player's id."""

    port: int
    viewer_token: str
    player_id: str


class Client:
    """One connection of a flood."""

    __slots__ = ("buffer", "is_websocket", "number", "output", "reads", "socket", "vanished")

    def __init__(self, opened, number):
        self.socket, self.number = opened, number
        self.output, self.buffer = b"", bytearray()
        self.reads = True
        self.is_websocket = self.vanished = False

    def frames(self, data):
        """Return the payloads of complete text frames; none before the handshake is complete."""
        self.buffer += data
        if not self.is_websocket:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0 or not self.buffer.startswith(b"HTTP/1.1 101"):
                return []
            del self.buffer[: end + 4]
            self.is_websocket = True
        return [payload for opcode, payload in wire.frames(self.buffer) if opcode == wire.TEXT]


class Flood:
    """Keeps `count` connections open; a subclass defines what they send.

    Connections that the server closes are replaced, at most `opening` per second. Each sends
    `first`, then `periodic` every `interval` seconds. While `holding`, no connection is opened;
    the open ones continue with `periodic`.
    """

    count = 500
    opening = 500
    addresses = 8
    interval = 0.0  # seconds
    receive_buffer = 0

    def __init__(self, target, network, count=None):
        self.target = target
        self.counts = Counter()
        self.count = count or self.count
        self.holding = False
        self._network = network
        self._poll = select.epoll()
        self._open = {}
        self._due = deque()
        self._made = 0

    def first(self, client):
        """Return what a new connection sends."""
        return b""

    def periodic(self, client):
        """Return what a connection sends every `interval` seconds."""
        return b""

    def received(self, client, data):
        """Handle what has arrived."""

    def send(self, client, data, append=False):
        """Send without blocking. Unless `append`, drop the data if earlier data is unsent."""
        if append or not client.output:
            client.output += data
            self._send(client)

    def vanish(self, client):
        """Disappear without a FIN: the kernel drops whatever arrives, before TCP sees it."""
        program = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
        filter_ = struct.pack("HP", 1, ctypes.addressof(program))
        client.socket.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, filter_)
        self._poll.unregister(client.socket)
        client.vanished = True
        self.counts["vanished"] += 1

    def run(self, up, ended):
        """Flood until `ended()`. Call `up()` when all connections are opened, or at a timeout."""
        began = self._opened_at = time.monotonic()
        while not ended():
            now = time.monotonic()
            if not self.holding:
                self._open_missing(now)
            if up and (self.counts["opened"] >= self.count or now > began + OPENING_TIMEOUT):
                up()
                up = None
            self._send_periodic(now)
            self._poll_once()
        for client in self._open.values():
            client.socket.close()

    def _open_missing(self, now):
        while len(self._open) < self.count and self._opened_at <= now:
            self._opened_at = max(self._opened_at, now - 0.1) + 1 / self.opening
            self._connect()

    def _connect(self):
        opened = socket.socket()
        opened.setblocking(False)
        opened.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        if self.receive_buffer:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_buffer)
        self._made += 1
        opened.bind((f"127.{self._network}.0.{1 + self._made % self.addresses}", 0))
        with contextlib.suppress(BlockingIOError):
            opened.connect(("127.0.0.1", self.target.port))
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = Client(opened, self._made)
        client.output = self.first(client)
        self._open[opened.fileno()] = client
        self._poll.register(opened, self._events(client, writing=True))
        self.counts["opened"] += 1
        if self.interval:
            self._due.append((time.monotonic() + self.interval, client))

    def _events(self, client, writing):
        events = select.EPOLLRDHUP | (select.EPOLLIN if client.reads else 0)
        return events | (select.EPOLLOUT if writing else 0)

    def _send_periodic(self, now):
        while self._due and self._due[0][0] <= now:
            _, client = self._due.popleft()
            if client.socket.fileno() >= 0:
                self._due.append((now + self.interval, client))
                if not client.vanished:
                    self.send(client, self.periodic(client))

    def _poll_once(self):
        for number, events in self._poll.poll(0.005):
            client = self._open.get(number)
            if client and events & select.EPOLLOUT:
                self._send(client)
            if client and events & select.EPOLLIN and client.reads:
                self._receive(client)
            elif client and events & _CLOSED:
                self._lose(client)

    def _send(self, client):
        try:
            sent = client.socket.send(client.output) if client.output else 0
        except BlockingIOError:
            sent = 0
        except OSError:
            self._lose(client)
            return
        client.output = client.output[sent:]
        if not client.vanished:
            self._poll.modify(client.socket, self._events(client, bool(client.output)))

    def _receive(self, client):
        try:
            data = client.socket.recv(READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self.received(client, data)
        else:
            self._lose(client)

    def _lose(self, client):
        """Remove and count a connection that the server has closed."""
        if self._open.pop(client.socket.fileno(), None):
            self.counts["closed by the server"] += 1
            client.socket.close()
