"""Legitimate clients that post, read and watch at a steady rate; every request must succeed."""

import json
import select
import socket
import struct
import time
from collections import deque

from bench import wire
from bench.crowd import SO_TIMESTAMPNS, Reference
from bench.kinds import Plain, SocketIo
from bench.load import Lost, connected
from bench.updates import number_of

RATE = 50  # updates per second, and top 10 requests per second
PATIENCE = 60  # seconds after which a response counts as lost


class Asker:
    """One keep-alive connection with one request in flight, at a steady rate.

    A response's time is from when its request was due until the kernel received the response. If
    this process itself is late, all requests are delayed by as much, so that it does not count.
    """

    def __init__(self, port, rate, next_request, take):
        self.socket = connected(port)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.rate = rate
        self.taken = []  # seconds of each response
        self._next_request, self._take = next_request, take
        self._due = time.time()
        self._started = self._written = None
        self._free_at = 0.0
        self._buffer = bytearray()

    @property
    def waiting(self):
        """Whether a response is outstanding."""
        return self._started is not None

    def start_again(self):
        """Return and reset the response times in seconds; drop overdue requests."""
        taken, self.taken = self.taken, []
        self._due = max(self._due, time.time())
        return taken

    def turn(self, now):
        """Send a due request. Raises Lost if the last one has no response within `PATIENCE`."""
        if self.waiting:
            if now > self._written + PATIENCE:
                raise Lost(f"a legitimate request had no answer within {PATIENCE} s")
        elif now >= self._due:
            self._due += now - max(self._due, self._free_at)
            self._started, self._written = self._due, now
            self._due += 1 / self.rate
            request = self._next_request(self._started)
            assert self.socket.send(request) == len(request)

    def read(self):
        """Read the response. Raises Lost if the server has closed the connection."""
        try:
            data, told, _, _ = self.socket.recvmsg(1 << 18, 64)
        except OSError as error:
            raise Lost(f"a legitimate client was cut off: {error}") from None
        if not data:
            raise Lost("a legitimate client was hung up on")
        self._buffer += data
        for status, body in wire.answers(self._buffer):
            self._free_at = _arrived(told)
            self.taken.append(self._free_at - self._started)
            self._started = None
            self._take(status, body)


class People:
    """Legitimate clients: two viewers, one of each kind, a poster and a top 10 reader."""

    def __init__(self, served, rate=RATE):
        self._served = served
        self._posted = {}  # time due, by the number of the update
        self._accepted = 0
        viewer = served.watching
        self.viewers = [Reference(kind, served.port, viewer) for kind in (Plain, SocketIo)]
        self._seen = [0, 0]
        top10 = wire.request("GET", "/api/score/top10", served.port, viewer)
        metrics = wire.request("GET", "/metrics", served.port, "")
        self._poster = Asker(served.port, rate, self._update, self._accept)
        self._asker = Asker(served.port, rate, lambda at: top10, self._ten)
        self._meter = Asker(served.port, 2, lambda at: metrics, self._metered)
        self._reading = {}
        self._poll = select.epoll()
        for one in (self._poster, self._asker, self._meter, *self.viewers):
            self._reading[one.socket.fileno()] = one
            self._poll.register(one.socket, select.EPOLLIN)
        self.metrics = ""
        while any(viewer.to_come for viewer in self.viewers):
            self._read(0.1)
        self._bodies = deque(served.updates.everyone_once())

    def run(self, seconds, until=lambda: False, beside=lambda: None):
        """Run for `seconds` or until `until()`, which is checked, after `beside()`, every 0.1 s.

        Returns whether `until()` holds.
        """
        end, look = time.time() + seconds, 0.0
        while (now := time.time()) < end:
            for asker in (self._poster, self._asker, self._meter):
                asker.turn(now)
            self._read(0.002)
            if now >= look:
                look = now + 0.1
                beside()
                if until():
                    return True
        return until()

    def run_until(self, condition, timeout, beside=lambda: None):
        """Run until the condition holds; return the seconds it took, or None after the timeout."""
        began = time.time()
        return time.time() - began if self.run(timeout, condition, beside) else None

    def times(self):
        """Return the response and push times in seconds since the last call, by kind.

        Requests that are overdue, because an earlier one has no response yet, are dropped.
        """
        found = {"update": self._poster.start_again(), "top 10": self._asker.start_again()}
        for index, (viewer, name) in enumerate(
            zip(self.viewers, ("plain", "socket.io"), strict=True)
        ):
            new, self._seen[index] = viewer.updates[self._seen[index] :], len(viewer.updates)
            found[f"push, {name}"] = [at - self._posted[number_of(value)] for at, value in new]
        return found

    def finish(self):
        """Wait until all responses and pushes have arrived. Raises Lost after `PATIENCE`."""
        end = time.time() + PATIENCE
        while self._poster.waiting or self._asker.waiting or not self._all_is_seen():
            self._read(0.02)
            if time.time() > end:
                seen = [len(viewer.updates) for viewer in self.viewers]
                raise Lost(f"of {self._accepted} updates the viewers have seen {seen}")
        for one in self._reading.values():
            one.socket.close()
        self._poll.close()

    def _all_is_seen(self):
        return all(len(viewer.updates) == self._accepted for viewer in self.viewers)

    def _read(self, seconds):
        for number, _ in self._poll.poll(seconds):
            self._reading[number].read()

    def _update(self, at):
        number = self._served.updates.made - len(self._bodies)
        body = self._bodies.popleft() if self._bodies else self._served.updates.next()
        self._posted[number] = at
        return wire.request(
            "POST", "/api/score/update", self._served.port, self._served.scorer_token, body
        )

    def _accept(self, status, body):
        if status != 200:
            raise Lost(f"a legitimate update was answered {status}: {body}")
        self._accepted += 1

    def _ten(self, status, body):
        if status != 200 or "top_10_scores" not in json.loads(body):
            raise Lost(f"the top 10 was answered {status}: {body[:100]}")

    def _metered(self, status, body):
        if status != 200:
            raise Lost(f"the metrics were answered {status}")
        self.metrics = body.decode()


def _arrived(told):
    """Return when the kernel received the data, from a message's ancillary data."""
    for _, kind, value in told:
        if kind == SO_TIMESTAMPNS:
            seconds, nanoseconds = struct.unpack("qq", value)
            return seconds + nanoseconds / 1e9
    return time.time()
