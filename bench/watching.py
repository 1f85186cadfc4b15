"""A thousand viewers through a steady rate of updates: is all delivered, in order, how soon."""

import select
import time
from collections import deque
from dataclasses import dataclass
from statistics import quantiles

from .crowd import Crowd
from .load import HttpClient
from .submitting import Submitted
from .updates import number_of

CONNECTIONS = 64
GRACE_SECONDS = 5  # for what was offered and has not arrived at the end


@dataclass(frozen=True)
class Watched:
    """What came of the updates. Times are in milliseconds, `grown` is the process's MiB.

    `delivered` is how many updates reached all viewers, `in_order` whether each did once and in the
    order of the history. `late` is how late the latest post was written: our own delay, or that of
    a server that left no connection free. The percentiles are of the time from the moment before a
    post was written to the socket until the kernel had the push for a viewer, by the one clock of
    this machine, over all updates and five viewers, the first and the last among them.
    """

    offered: int
    delivered: int
    in_order: bool
    p50: float
    p99: float
    late: float
    grown: float

    def in_words(self):
        """Return whether all was delivered, and in order."""
        if self.delivered < self.offered:
            return f"{100 * self.delivered // self.offered} % of {self.offered:,}"
        return f"all {self.offered:,}, " + ("in order" if self.in_order else "NOT in order")


def watch(subject, viewers, rate, seconds, one_stops_reading=False):
    """Offer updates at this rate to so many Socket.IO viewers and return what came of them."""
    crowd = Crowd(subject)
    crowd.grow_to(viewers)
    if one_stops_reading:
        crowd.add_one_that_stops_reading()
    recorded, resident = len(subject.recorded()), subject.resident_bytes()
    offer = _Offer(subject, crowd, rate, rate * seconds)
    offer.make(GRACE_SECONDS)
    grown = subject.resident_bytes() - resident
    told = [reference.updates for reference in crowd.references]
    complete = crowd.has(offer.count)
    crowd.close()
    if complete:
        offer.submitted.check(recorded)
    order = subject.recorded()[recorded:]
    cuts = quantiles((at - offer.posted[number_of(v)] for all_ in told for at, v in all_), n=100)
    return Watched(
        offered=offer.count,
        delivered=offer.count if complete else min(map(len, told)),
        in_order=all([number_of(value) for _, value in each] == order for each in told),
        p50=cuts[49] * 1000,
        p99=cuts[98] * 1000,
        late=offer.late * 1000,
        grown=grown / 1024 / 1024,
    )


class _Offer:
    """Posts at a steady rate, whether or not the ones before are answered."""

    def __init__(self, subject, crowd, rate, count):
        self.count = count
        self.posted = {}  # by the number of the update, by time.time()
        self.late = 0.0
        self.submitted = Submitted(subject)
        self._subject, self._crowd, self._rate = subject, crowd, rate
        self._answered = 0
        self._clients = {}
        self._poll = select.epoll()
        for _ in range(CONNECTIONS):
            client = HttpClient(subject)
            self._clients[client.socket.fileno()] = client
            self._poll.register(client.socket, select.EPOLLIN)
        self._idle = deque(self._clients.values())
        self._poll.register(crowd, select.EPOLLIN)

    def make(self, grace):
        """Post everything and read on until all of it has arrived, or the grace has passed."""
        self._start = time.perf_counter()
        end = self._start + self.count / self._rate + grace
        look = end - grace
        while (now := time.perf_counter()) < end:
            self._post_what_is_due()
            if now >= look and self._answered == self.count:
                if self._crowd.has(self.count):
                    break
                look = now + 0.1
            self._read(min(self._until_next(), 0.05))
        for client in self._clients.values():
            client.socket.close()
        self._poll.close()

    def _until_next(self):
        """Return the seconds until the next post; endless if there is none or nobody to post it."""
        if len(self.posted) == self.count or not self._idle:
            return float("inf")
        return max(0.0, self._start + len(self.posted) / self._rate - time.perf_counter())

    def _post_what_is_due(self):
        while self._until_next() == 0:
            due = self._start + len(self.posted) / self._rate
            self.late = max(self.late, time.perf_counter() - due)
            number = self._subject.updates.made
            self.posted[number] = time.time()
            self.submitted.post(self._idle.popleft())

    def _read(self, seconds):
        for number, _ in self._poll.poll(seconds):
            if number == self._crowd.fileno():
                # Only some, so that the next post is not late for it.
                self._crowd.pump(0, most=64)
                continue
            client = self._clients[number]
            for status, body in client.receive():
                self.submitted.accept(status, body)
                self._answered += 1
                self._idle.append(client)
