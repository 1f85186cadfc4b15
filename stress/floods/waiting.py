"""Floods that take connections and patience: they say little, or never come to the end."""

import json

from bench import wire
from bench.kinds import Plain, SocketIo

from .reading import framed
from .swarm import Flood

HEAD = b"POST %s HTTP/1.1\r\nHost: scoreboard\r\nContent-Type: application/json\r\n%s\r\n"
PATHS = (b"/api/score/update", b"/api/auth/login")
CHUNKED = b"Transfer-Encoding: chunked\r\n"


class Idle(Flood):
    """2,000 connections that say nothing."""

    count = 2000


class Strangers(Flood):
    """2,000 Engine.IO WebSockets that never authenticate."""

    count = 2000

    def hello(self, one):
        return wire.upgrade(SocketIo.path, self.target.port)


class SlowHeads(Flood):
    """500 requests whose head comes a byte every two seconds, and never ends."""

    every = 2.0

    def hello(self, one):
        return b"GET /api/score/top10 HTTP/1.1\r\nHost: scoreboard\r\nX-Endless: "

    def words(self, one):
        return b"a"


class SlowLines(SlowHeads):
    """500 requests whose first line comes a byte every two seconds, and never ends."""

    def hello(self, one):
        return b"GET /"


class SlowBodies(Flood):
    """500 bodies of 60,000 bytes that come a byte every two seconds."""

    every = 2.0

    def hello(self, one):
        return HEAD % (PATHS[one.number % 2], b"Content-Length: 60000\r\n")

    def words(self, one):
        return b" "


class SlowChunks(Flood):
    """500 bodies in chunks that never end: by chunks, in the size of one, or in the trailers."""

    every = 2.0
    sorts = ((b"", b"1\r\n \r\n"), (b"", b"0"), (b"0\r\n", b"X-Endless: a\r\n"))

    def hello(self, one):
        begun, _ = self.sorts[one.number % 3]
        return HEAD % (PATHS[one.number % 2], CHUNKED) + begun

    def words(self, one):
        return self.sorts[one.number % 3][1]


class EndlessLines(Flood):
    """Four chunk sizes and trailers each that never end, as fast as the server takes them."""

    count = 8
    sorts = (b"", b"0\r\nX-Endless: ")
    most = 64 * 1024 * 1024  # bytes of each

    def hello(self, one):
        return HEAD % (b"/api/auth/login", CHUNKED) + self.sorts[one.number % 2]

    def more(self, one):
        one.step += 1
        return b"0" * 65536 if one.step * 65536 < self.most else b""


class SlowReaders(Flood):
    """200 connections that ask for 64 large answers each, and read a byte a second."""

    count = 200
    every = 1.0
    receive_buffer = 4096
    paths = ("/api/openapi.json", "/docs")

    def hello(self, one):
        self.stop_reading(one)
        path = self.paths[one.number % 2]
        return wire.request("GET", path, self.target.port, self.target.viewer_token) * 64

    def words(self, one):
        try:
            one.socket.recv(1)
        except OSError:
            self.counts["nothing to read"] += 1
        return b""


class Vanished(Flood):
    """200 viewers, half by Socket.IO, and 100 within a request that are gone without a word."""

    count = 300
    sorts = ("plain", "socket.io", "plain", "socket.io", "head", "body")

    def _sort(self, one):
        return self.sorts[one.number % len(self.sorts)]

    def hello(self, one):
        sort = self._sort(one)
        if sort == "plain":
            return Plain.handshake(self.target.port, self.target.viewer_token)
        if sort == "socket.io":
            return SocketIo.handshake(self.target.port, self.target.viewer_token)
        head = HEAD % (PATHS[0], b"Content-Length: 60000\r\n")
        # After a whole one: its answer tells that the rest has arrived.
        whole = wire.request("GET", "/healthz", self.target.port, "")
        return whole + (head[:40] if sort == "head" else head)

    def hear(self, one, data):
        sort = self._sort(one)
        if sort in ("head", "body"):
            self.vanish(one)
            return
        for payload in framed(one, data) or []:
            if payload[:1] == b"0":
                hello = json.dumps({"token": self.target.viewer_token}).encode()
                self.say(one, wire.text_frame(b"40" + hello))
            elif b'"top_10_update"' in payload:
                self.vanish(one)
                return
