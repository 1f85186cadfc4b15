"""Define the floods: the bytes that their clients send, and how they handle responses."""

import json

from bench import wire
from bench.kinds import Plain, SocketIo

from .swarm import Flood

HEAD = b"POST %s HTTP/1.1\r\nHost: scoreboard\r\nContent-Type: application/json\r\n%s\r\n"
PATHS = (b"/api/score/update", b"/api/auth/login")
CHUNKED = b"Transfer-Encoding: chunked\r\n"
BAD_TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIx{:08d}In0.c2lnbmF0dXJl"
NAMES = ("scorer", "nobody")


class Idle(Flood):
    """2,000 connections that send nothing."""

    count = 2000


class Unauthenticated(Flood):
    """2,000 Engine.IO WebSockets that never authenticate."""

    count = 2000

    def first(self, client):
        return wire.upgrade(SocketIo.path, self.target.port)


class SlowHeads(Flood):
    """500 requests that send a byte of the head every two seconds and never complete it."""

    interval = 2.0
    beginnings = (b"GET /", b"GET /api/score/top10 HTTP/1.1\r\nHost: scoreboard\r\nX-Endless: ")

    def first(self, client):
        return self.beginnings[client.number % 2]

    def periodic(self, client):
        return b"a"


class SlowBodies(Flood):
    """500 requests that send a body of 60,000 bytes, one byte every two seconds."""

    interval = 2.0

    def first(self, client):
        return HEAD % (PATHS[client.number % 2], b"Content-Length: 60000\r\n")

    def periodic(self, client):
        return b" "


class SlowChunks(Flood):
    """500 chunked bodies that never end: in chunks, in a chunk size, or in the trailers."""

    interval = 2.0
    beginnings = (b"", b"", b"0\r\n")
    parts = (b"1\r\n \r\n", b"0", b"X-Endless: a\r\n")

    def first(self, client):
        return HEAD % (PATHS[client.number % 2], CHUNKED) + self.beginnings[client.number % 3]

    def periodic(self, client):
        return self.parts[client.number % 3]


class SlowReaders(Flood):
    """200 connections that request 64 large responses each, and read a byte a second."""

    count = 200
    interval = 1.0
    receive_buffer = 4096
    paths = ("/api/openapi.json", "/docs")

    def first(self, client):
        client.reads = False
        path = self.paths[client.number % 2]
        return wire.request("GET", path, self.target.port, self.target.viewer_token) * 64

    def periodic(self, client):
        try:
            client.socket.recv(1)
        except OSError:
            self.counts["nothing to read"] += 1
        return b""


class Vanished(Flood):
    """200 viewers, half by Socket.IO, and 100 requests in progress that vanish without a FIN."""

    count = 300
    kinds = ("plain", "socket.io", "plain", "socket.io", "head", "body")

    def _kind(self, client):
        return self.kinds[client.number % len(self.kinds)]

    def first(self, client):
        kind = self._kind(client)
        if kind == "plain":
            return Plain.handshake(self.target.port, self.target.viewer_token)
        if kind == "socket.io":
            return SocketIo.handshake(self.target.port, self.target.viewer_token)
        head = HEAD % (PATHS[0], b"Content-Length: 60000\r\n")
        # Sent after a whole request, whose response shows that the rest has arrived.
        whole = wire.request("GET", "/healthz", self.target.port, "")
        return whole + (head[:40] if kind == "head" else head)

    def received(self, client, data):
        if self._kind(client) in ("head", "body"):
            self.vanish(client)
            return
        for payload in client.frames(data):
            if payload[:1] == b"0":
                self.send(client, _connect_packet(self.target.viewer_token))
            elif b'"top_10_update"' in payload:
                self.vanish(client)
                return


class Guesses(Flood):
    """Updates with bad tokens, as fast as 64 connections of one address get their responses."""

    count = 64
    addresses = 1

    def first(self, client):
        self.counts["requests"] += 1
        return self.request(self.counts["requests"])

    def received(self, client, data):
        client.buffer += data
        for status, _ in wire.answers(client.buffer):
            self.counts[str(status)] += 1
            if not self.holding:
                self.send(client, self.first(client))

    def request(self, number):
        """Return the request with this number."""
        update = {"user_id": self.target.player_id, "score_value": 1, "timestamp": "2026-01-01"}
        token = BAD_TOKEN.format(number)
        return wire.request("POST", "/api/score/update", self.target.port, token, _json(update))


class Logins(Guesses):
    """Wrong passwords for a known and an unknown user, as fast as 64 addresses get responses."""

    addresses = 64

    def request(self, number):
        body = {"username": NAMES[number % 2], "password": f"wrong password {number}"}
        return wire.request("POST", "/api/auth/login", self.target.port, "", _json(body))


class ConnectGuesses(Flood):
    """Socket.IO CONNECTs with bad tokens, as fast as 64 WebSockets get their responses."""

    count = 64
    addresses = 1

    def first(self, client):
        return SocketIo.handshake(self.target.port, "")

    def received(self, client, data):
        for payload in client.frames(data):
            self.counts[payload[:2].decode()] += 1
            if payload[:1] == b"0" or (payload[:2] == b"44" and not self.holding):
                self.counts["requests"] += 1
                self.send(client, _connect_packet(BAD_TOKEN.format(self.counts["requests"])))


class Pipelining(Flood):
    """Four connections that pipeline top 10 requests, always 256 ahead of the responses."""

    count = 4
    addresses = 1

    def first(self, client):
        return self._requests(256)

    def received(self, client, data):
        client.buffer += data
        responses = wire.answers(client.buffer)
        for status, _ in responses:
            self.counts[str(status)] += 1
        if not self.holding:
            self.send(client, self._requests(len(responses)), append=True)

    def _requests(self, count):
        return wire.request("GET", "/api/score/top10", self.target.port, "") * count


FLOODS = {
    "idle": Idle,
    "unauthenticated": Unauthenticated,
    "slow-heads": SlowHeads,
    "slow-bodies": SlowBodies,
    "slow-chunks": SlowChunks,
    "slow-readers": SlowReaders,
    "vanished": Vanished,
    "logins": Logins,
    "guesses": Guesses,
    "connect-guesses": ConnectGuesses,
    "pipelining": Pipelining,
}


def _json(body):
    return json.dumps(body).encode()


def _connect_packet(token):
    """Return the frame with which a Socket.IO client authenticates."""
    return wire.text_frame(b"40" + _json({"token": token}))
