"""Load clients with keep-alive connections, each as fast as the server responds."""

import json
import select
import socket
import time

import websocket

from . import wire
from .wire import MeasurementFailed

DEADLINE = 120  # seconds, longer than any measurement


class HttpClient:
    """One keep-alive HTTP connection with one request in flight."""

    in_flight = 1

    def __init__(self, server, token=None):
        self.port, self.token = server.port, token or server.scorer_token
        self.socket = connected(self.port)
        self._buffer = bytearray()

    def post(self, body, path="/api/score/update"):
        self.send(wire.request("POST", path, self.port, self.token, body))

    def send(self, request):
        assert self.socket.send(request) == len(request), "a request did not fit into the socket"

    def receive(self):
        """Return status and body of each response that has arrived."""
        self._buffer += received(self.socket)
        return wire.responses(self._buffer)


class EventClient:
    """One Socket.IO connection that emits `update_score` with many in flight."""

    def __init__(self, server, in_flight):
        self.in_flight = in_flight
        self.socket = socketio_connection(server.port, server.scorer_token)
        self._buffer = bytearray()
        self._sent = 0

    def post(self, body):
        self._sent += 1
        frame = wire.text_frame(b'42%d["update_score",%b]' % (self._sent, body))
        assert self.socket.send(frame) == len(frame), "an event did not fit into the socket"

    def receive(self):
        """Return status and body of each acknowledgement that has arrived; send pongs."""
        self._buffer += received(self.socket)
        responses = []
        for payload in wire.frames(self._buffer):
            if payload.startswith(b"43"):
                acknowledged = json.loads(payload[payload.index(b"[") :])[0]
                responses.append((acknowledged["status"], acknowledged["body"]))
            elif payload == b"2":
                self.socket.send(wire.text_frame(b"3"))
        return responses


def received(connection):
    """Return the bytes that have arrived. Raises MeasurementFailed if the connection is closed."""
    try:
        data = connection.recv(1 << 20)
    except BlockingIOError:
        return b""
    except OSError as error:
        raise MeasurementFailed(f"a connection failed: {error}") from None
    if not data:
        raise MeasurementFailed("the server closed a connection")
    return data


def connected(port):
    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setblocking(False)
    return connection


def socketio_connection(port, token):
    """Return the socket of a Socket.IO connection that has received the current top 10."""
    connection = websocket.create_connection(
        f"ws://127.0.0.1:{port}/ws/scoreboard/?EIO=4&transport=websocket",
        timeout=30,
        sockopt=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
    )
    connection.recv()
    connection.send("40" + json.dumps({"token": token}))
    # Some servers send these in the other order.
    pending = {"40", '42["top_10_update"'}
    while pending:
        message = connection.recv()
        pending -= {start for start in pending if message.startswith(start)}
    connection.sock.setblocking(False)
    return connection.sock


class Load:
    """Runs several clients in one loop.

    `send(client)` sends a client's next request; `check(status, body)` raises MeasurementFailed for
    an unexpected response.
    """

    def __init__(self, clients, send, check):
        self._clients = {client.socket.fileno(): client for client in clients}
        self._send, self._check = send, check
        self._poll = select.epoll()
        for number in self._clients:
            self._poll.register(number, select.EPOLLIN)
        self._in_flight = 0

    def run(self, seconds):
        """Keep every client busy; return the responses per second, and close the clients.

        Waits for outstanding responses at the end, and does not count them.
        """
        for client in self._clients.values():
            for _ in range(client.in_flight):
                self._send(client)
                self._in_flight += 1
        count, end = 0, time.perf_counter() + seconds
        while (now := time.perf_counter()) < end:
            count += self._read(end - now, send_next=True)
        while self._in_flight:
            self._read(1, send_next=False)
            if time.perf_counter() > end + DEADLINE:
                raise MeasurementFailed(f"{self._in_flight} responses did not arrive")
        for client in self._clients.values():
            client.socket.close()
        self._poll.close()
        return count / seconds

    def _read(self, seconds, send_next):
        """Read responses, waiting up to `seconds` for the first; return their number."""
        count = 0
        for number, _ in self._poll.poll(max(seconds, 0)):
            client = self._clients[number]
            for status, body in client.receive():
                self._check(status, body)
                count += 1
                self._in_flight -= 1
                if send_next:
                    self._send(client)
                    self._in_flight += 1
        return count
