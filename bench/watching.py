"""Measure the cost of viewers: push latency, CPU per delivery and memory per viewer."""

import contextlib
import math
import select
import time
from collections import deque
from dataclasses import dataclass

from .crowd import Crowd
from .load import HttpClient, Lost
from .submitting import Submitted
from .updates import number_of

CONNECTIONS = 64
FIRST_VIEWERS = 100  # not measured: they cause one-time allocations
GRACE_PERIOD = 10  # seconds after the last post in which every push must arrive


@dataclass(frozen=True)
class Watched:
    """Push latency in ms over all updates and five viewers, and CPU per delivery in µs.

    If the viewers did not get everything in time, the latency is text with the share delivered.

    The latency of an update is the time from when its post was due until the kernel received the
    push for a viewer, by this machine's clock. A delivery is one `score_update` to one viewer, with
    the `top_10_update` that may follow. Its CPU is that of the whole process, including the update.
    """

    p50: float | str
    p99: float | str
    cpu: float


@contextlib.contextmanager
def viewers_of(subject, count):
    """Connect `count` viewers and wait until the server is idle; close them afterwards."""
    crowd = Crowd(subject)
    try:
        crowd.grow_to(count)
        subject.settle()
        yield crowd
    finally:
        crowd.close()


def memory_per_viewer(subject, count):
    """Return the KiB of resident memory per viewer, without the first 100 viewers.

    The server must be new: a used one would reuse memory instead of growing.
    """
    with viewers_of(subject, FIRST_VIEWERS) as crowd:
        before = subject.resident_bytes()
        crowd.grow_to(count)
        subject.settle()
        return (subject.resident_bytes() - before) / (count - FIRST_VIEWERS) / 1024


def watch(subject, crowd, rate, seconds):
    """Post `rate` updates per second; return a `Watched`. Raises Lost for a refused update."""
    crowd.start_again()
    recorded, cpu = len(subject.recorded()), subject.cpu_seconds()
    posts = _Posts(subject, crowd, rate, rate * seconds)
    posts.make()
    cpu = subject.cpu_seconds() - cpu
    seen = min(len(reference.updates) for reference in crowd.references)
    if not seen:
        raise Lost("nothing delivered")
    cpu_per_delivery = cpu / (seen * len(crowd)) * 1e6
    if not crowd.has(posts.count):
        share = f"{100 * seen // posts.count} % delivered"
        return Watched(share, share, cpu_per_delivery)
    posts.submitted.check(recorded)
    latencies = sorted(
        at - posts.due[number_of(value)]
        for reference in crowd.references
        for at, value in reference.updates
    )
    p50, p99 = (latencies[math.ceil(len(latencies) * part) - 1] for part in (0.5, 0.99))
    return Watched(p50 * 1e3, p99 * 1e3, cpu_per_delivery)


class _Posts:
    """Posts updates at a steady rate, without waiting for earlier responses.

    If a post is late because the server left no connection free, its latency counts from the
    scheduled time. If this process is late itself, it counts from the time of writing.
    """

    def __init__(self, subject, crowd, rate, count):
        self.count = count
        self.due = {}  # seconds of time.time(), by the number of the update
        self.submitted = Submitted(subject)
        self._subject, self._crowd, self._interval = subject, crowd, 1 / rate
        self._blocked = False
        self._answered = 0
        self._clients = {}
        self._poll = select.epoll()
        for _ in range(CONNECTIONS):
            client = HttpClient(subject)
            self._clients[client.socket.fileno()] = client
            self._poll.register(client.socket, select.EPOLLIN)
        self._idle = deque(self._clients.values())
        self._poll.register(crowd, select.EPOLLIN)

    def make(self):
        """Post all updates; read until all are delivered or the grace period is over."""
        self._next = time.time()
        end = self._next + self.count * self._interval + GRACE_PERIOD
        look = end - GRACE_PERIOD
        try:
            while (now := time.time()) < end:
                self._post_what_is_due()
                if now >= look and self._answered == self.count:
                    if self._crowd.has(self.count):
                        break
                    look = now + 0.1
                self._read(self._seconds_until_next())
        finally:
            for client in self._clients.values():
                client.socket.close()
            self._poll.close()

    def _post_what_is_due(self):
        while len(self.due) < self.count and (now := time.time()) >= self._next:
            if not self._idle:
                self._blocked = True
                return
            self.due[self._subject.updates.made] = self._next if self._blocked else now
            self._next += self._interval
            self.submitted.post(self._idle.popleft())
        self._blocked = False

    def _seconds_until_next(self):
        if self._blocked or len(self.due) == self.count:
            return 0.05
        return min(max(self._next - time.time(), 0), 0.05)

    def _read(self, seconds):
        for number, _ in self._poll.poll(seconds):
            if number == self._crowd.fileno():
                # Read only some viewers at a time, so that the next post is on time.
                self._crowd.pump(0, most=64)
                continue
            client = self._clients[number]
            for status, body in client.receive():
                self.submitted.accept(status, body)
                self._answered += 1
                self._idle.append(client)
