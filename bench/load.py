"""Who submits and asks: kept connections, each sending the next as soon as it may."""

import json
import select
import socket
import time

from . import wire

DEADLINE = 120  # seconds that no measurement takes


class Lost(Exception):
    """The server did not do what it was asked, so there is nothing to measure."""


class HttpClient:
    """One kept HTTP connection with one request in flight."""

    in_flight = 1

    def __init__(self, subject, token=None):
        self.port, self.token = subject.port, token or subject.scorer_token
        self.socket = connected(self.port)
        self._buffer = bytearray()

    def post(self, body, path="/api/score/update"):
        """Send the request; an answer comes by `receive`."""
        self.send(wire.request("POST", path, self.port, self.token, body))

    def send(self, request):
        assert self.socket.send(request) == len(request), "a request did not fit into the socket"

    def receive(self):
        """Return status and body of the answers that have come; (0, ...) if the server hung up."""
        data = self.socket.recv(65536)
        if not data:
            raise Lost("the server closed a connection")
        self._buffer += data
        return wire.answers(self._buffer)


class EventClient:
    """One Socket.IO connection that emits `update_score` with many in flight."""

    def __init__(self, subject, in_flight):
        self.in_flight = in_flight
        self.socket = connected(subject.port)
        self.socket.setblocking(True)
        self.socket.settimeout(10)
        self._buffer = bytearray()
        self._sent = 0
        path = "/ws/scoreboard/?EIO=4&transport=websocket"
        self.socket.sendall(wire.upgrade(path, subject.port))
        while b"\r\n\r\n" not in self._buffer:
            self._buffer += self.socket.recv(65536)
        assert self._buffer.startswith(b"HTTP/1.1 101"), self._buffer
        end = self._buffer.index(b"\r\n\r\n") + 4
        self._inflate = wire.inflater(self._buffer[:end])
        del self._buffer[:end]
        hello = json.dumps({"token": subject.scorer_token})
        self.socket.sendall(wire.text_frame(b"40" + hello.encode()))
        welcomed = False
        while not welcomed:
            self._buffer += self.socket.recv(65536)
            came = wire.frames(self._buffer, self._inflate)
            welcomed = any(payload.startswith(b"40") for _, payload in came)
        self.socket.setblocking(False)

    def post(self, body):
        """Send the event; the acknowledgement comes by `receive`."""
        self._sent += 1
        frame = wire.text_frame(b'42%d["update_score",%b]' % (self._sent, body))
        assert self.socket.send(frame) == len(frame), "an event did not fit into the socket"

    def receive(self):
        """Return status and body of the acknowledgements that have come; the rest is left."""
        data = self.socket.recv(1 << 20)
        if not data:
            raise Lost("the server closed a connection")
        self._buffer += data
        found = []
        for opcode, payload in wire.frames(self._buffer, self._inflate):
            if payload.startswith(b"43"):
                acknowledged = json.loads(payload[payload.index(b"[") :])[0]
                found.append((acknowledged["status"], acknowledged["body"]))
            elif payload == b"2":
                self.socket.send(wire.text_frame(b"3"))
            elif opcode == wire.CLOSE:
                raise Lost("the server closed a connection")
        return found


def connected(port):
    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setblocking(False)
    return connection


class Load:
    """Several clients in one loop.

    `send(client)` sends a client's next request; `check(status, body)` raises Lost for an answer
    that is none to be counted.
    """

    def __init__(self, clients, send, check):
        self._clients = {client.socket.fileno(): client for client in clients}
        self._send, self._check = send, check
        self._poll = select.epoll()
        for number in self._clients:
            self._poll.register(number, select.EPOLLIN)
        self._beside = {}
        self._under_way = 0

    def beside(self, source, read):
        """Call `read()` whenever this source, a socket or a crowd, has something to read."""
        self._beside[source.fileno()] = read
        self._poll.register(source, select.EPOLLIN)

    def run_for(self, seconds):
        """Keep every client busy for this long; return how many answers came in that time.

        What is in flight then is waited for, and not counted.
        """
        self._send_all()
        counted, until = 0, time.perf_counter() + seconds
        while (now := time.perf_counter()) < until:
            counted += self.turn(until - now, again=True)
        self._wait_for_the_rest()
        return counted

    def run_volley(self):
        """Send one request by every client at once and wait for all answers."""
        self._send_all()
        self._wait_for_the_rest()

    def close(self):
        for client in self._clients.values():
            client.socket.close()
        self._poll.close()

    def _send_all(self):
        for client in self._clients.values():
            for _ in range(client.in_flight):
                self._send(client)
                self._under_way += 1

    def turn(self, seconds, again):
        """Read what has come, waiting so long for the first; return the number of answers.

        With `again`, whoever has its answer sends the next request.
        """
        came = 0
        for number, _ in self._poll.poll(max(seconds, 0)):
            if number in self._beside:
                self._beside[number]()
                continue
            client = self._clients[number]
            for status, body in client.receive():
                self._check(status, body)
                came += 1
                self._under_way -= 1
                if again:
                    self._send(client)
                    self._under_way += 1
        return came

    def _wait_for_the_rest(self):
        until = time.perf_counter() + DEADLINE
        while self._under_way:
            self.turn(1, again=False)
            if time.perf_counter() > until:
                raise Lost(f"{self._under_way} answers did not come")
