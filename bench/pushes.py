"""Measure the cost of subscribers: push latency, CPU per delivery and memory per subscriber."""

import contextlib
import math
import select
import time
from collections import deque
from dataclasses import dataclass

from .clients import HttpClient, MeasurementFailed
from .rates import AcceptedUpdates
from .subscribers import SubscriberPool
from .updates import number_of

CONNECTIONS = 64
WARM_UP_SUBSCRIBERS = 100  # not measured: they cause one-time allocations
GRACE_PERIOD = 10  # seconds after the last post in which every push must arrive


@dataclass(frozen=True)
class PushFigures:
    """Push latency in ms, from when a post was due until the kernel received the push.

    It is text with the share delivered if the subscribers did not get everything in time. `cpu` is
    the CPU time of the server in µs, per `score_update` to one subscriber.
    """

    p50: float | str
    p99: float | str
    cpu: float


@contextlib.contextmanager
def subscribed(server, count):
    """Connect `count` subscribers and wait until the server is idle; close them afterwards."""
    pool = SubscriberPool(server)
    try:
        pool.grow_to(count)
        server.settle()
        yield pool
    finally:
        pool.close()


def memory_per_subscriber(server, count):
    """Return the KiB of resident memory per subscriber, without the first 100 subscribers.

    The server must be new: a used one would reuse memory instead of growing.
    """
    with subscribed(server, WARM_UP_SUBSCRIBERS) as pool:
        before = server.resident_bytes()
        pool.grow_to(count)
        server.settle()
        return (server.resident_bytes() - before) / (count - WARM_UP_SUBSCRIBERS) / 1024


def measure_pushes(server, pool, rate, seconds):
    """Post `rate` updates per second; return a `PushFigures`."""
    pool.reset()
    recorded, cpu = len(server.recorded()), server.cpu_seconds()
    posts = _Posts(server, pool, rate, rate * seconds)
    posts.run()
    cpu = server.cpu_seconds() - cpu
    delivered = min(len(reference.updates) for reference in pool.references)
    if not delivered:
        raise MeasurementFailed("nothing delivered")
    cpu_per_delivery = cpu / (delivered * len(pool)) * 1e6
    if not pool.has_received(posts.count):
        share = f"{100 * delivered // posts.count} % delivered"
        return PushFigures(share, share, cpu_per_delivery)
    posts.accepted.check(recorded)
    latencies = sorted(
        at - posts.due[number_of(value)]
        for reference in pool.references
        for at, value in reference.updates
    )
    p50, p99 = (latencies[math.ceil(len(latencies) * part) - 1] for part in (0.5, 0.99))
    return PushFigures(p50 * 1e3, p99 * 1e3, cpu_per_delivery)


class _Posts:
    """Posts updates at a steady rate, without waiting for earlier responses.

    If a post is late because the server left no connection free, its latency counts from the
    scheduled time. If this process is late itself, it counts from the time of writing.
    """

    def __init__(self, server, pool, rate, count):
        self.count = count
        self.due = {}  # seconds of time.time(), by the number of the update
        self.accepted = AcceptedUpdates(server)
        self._server, self._pool, self._interval = server, pool, 1 / rate
        self._blocked = False
        self._answered = 0
        self._clients = {}
        self._poll = select.epoll()
        for _ in range(CONNECTIONS):
            client = HttpClient(server)
            self._clients[client.socket.fileno()] = client
            self._poll.register(client.socket, select.EPOLLIN)
        self._idle = deque(self._clients.values())
        self._poll.register(pool, select.EPOLLIN)

    def run(self):
        """Post all updates; read until all are delivered or the grace period is over."""
        self._next = time.time()
        end = self._next + self.count * self._interval + GRACE_PERIOD
        next_check = end - GRACE_PERIOD
        try:
            while (now := time.time()) < end:
                self._post_due_updates()
                if now >= next_check and self._answered == self.count:
                    if self._pool.has_received(self.count):
                        break
                    next_check = now + 0.1
                self._read(self._seconds_until_next())
        finally:
            for client in self._clients.values():
                client.socket.close()
            self._poll.close()

    def _post_due_updates(self):
        while len(self.due) < self.count and (now := time.time()) >= self._next:
            if not self._idle:
                self._blocked = True
                return
            self.due[self._server.updates.created] = self._next if self._blocked else now
            self._next += self._interval
            self.accepted.post(self._idle.popleft())
        self._blocked = False

    def _seconds_until_next(self):
        if self._blocked or len(self.due) == self.count:
            return 0.05
        return min(max(self._next - time.time(), 0), 0.05)

    def _read(self, seconds):
        for number, _ in self._poll.poll(seconds):
            if number == self._pool.fileno():
                # Read only some subscribers at a time, so that the next post is on time.
                self._pool.pump(0, most=64)
                continue
            client = self._clients[number]
            for status, body in client.receive():
                self.accepted.accept(status, body)
                self._answered += 1
                self._idle.append(client)
