"""One flood against a server of its own: quiet and flooded by turns, then until all is let go."""

import time
from dataclasses import dataclass, field
from statistics import quantiles

from bench.load import Lost

from .attack import FLOODS, Attack
from .people import People
from .served import Served, connections

WARM_UP_SECONDS = 4  # in which every player gets a score
UP_SECONDS = 20
SETTLE_SECONDS = 2
LET_GO_SECONDS = 60
WATCHED_SECONDS = 90  # for how long to look, when that was not enough
MIB = 1024 * 1024
# What the process may grow by: 2,000 connections, or 500 refusals that are held.
MOST_GROWN = 96 * MIB


@dataclass
class Found:
    """What came of a flood. Times of requests are in seconds, by what was asked."""

    name: str
    quiet: dict = field(default_factory=dict)
    flooded: dict = field(default_factory=dict)
    resident: tuple = (0, 0, 0)  # bytes before, at most, after
    connections: tuple = (0, 0, 0)
    sockets: tuple = (0, 0, 0)
    files: tuple = (0, 0, 0)
    # Seconds of the slowest update while the flood comes, and while it is let go of.
    arrival: float = 0.0
    parting: float = 0.0
    cpu: float = 0.0  # of a core, while flooded
    let_go: float | None = None  # seconds
    counts: dict = field(default_factory=dict)
    failures: list = field(default_factory=list)

    def ratio(self, what, cut):
        """Return how many times as long it took while flooded."""
        return percentile(self.flooded[what], cut) / percentile(self.quiet[what], cut)


def percentile(times, cut):
    """Return this percentile of the times; endless if there are none to speak of."""
    return quantiles(times, n=100)[cut - 1] if len(times) > 1 else float("inf")


def measure(name, seconds, rounds):
    """Flood a new server, and return what came of it."""
    found = Found(name)
    served = Served(**FLOODS[name].settings)
    try:
        _Measuring(found, served, seconds, rounds).go()
    except Lost as reason:
        found.failures.append(str(reason))
    finally:
        found.failures += served.tracebacks()
        served.stop()
    return found


class _Measuring:
    def __init__(self, found, served, seconds, rounds):
        self._found, self._served = found, served
        self._seconds, self._rounds = seconds, rounds
        self._attack = None
        self._peak = {}

    def go(self):
        self._people = People(self._served)
        self._people.run(WARM_UP_SECONDS)
        self._before = self._level()
        try:
            self._quiet()
            for number in range(1, self._rounds + 1):
                self._flooded()
                if number == self._rounds:
                    self._until_let_go()
                self._end()
                self._quiet()
        finally:
            if self._attack:
                self._attack.end()
        self._note(self._level())
        self._people.finish()

    def _level(self):
        return {
            "resident": self._served.resident_bytes(),
            "connections": connections(self._people.metrics),
            "sockets": self._served.sockets(),
            "files": self._served.files(),
        }

    def _look(self):
        for what, much in self._level().items():
            self._peak[what] = max(much, self._peak.get(what, 0))

    def _measured(self):
        """Return the times of so many seconds, in which nothing else is done that takes long.

        To look at 2,000 files takes as long as ten answers, which would have to wait for it.
        """
        self._people.times()
        self._people.run(self._seconds, beside=self._look_at_memory)
        return self._people.times()

    def _look_at_memory(self):
        resident = self._served.resident_bytes()
        self._peak["resident"] = max(resident, self._peak.get("resident", 0))

    def _quiet(self):
        _add(self._found.quiet, self._measured())

    def _flooded(self):
        self._attack = Attack(self._found.name, self._served.target())
        self._attack.begin()
        # Hundreds that come at the same moment are a crowd of their own, and told of apart.
        self._people.times()
        self._people.run(UP_SECONDS, self._attack.is_up, self._look)
        self._people.run(SETTLE_SECONDS, beside=self._look)
        arrived = self._people.times()["update"]
        self._found.arrival = max([self._found.arrival, *arrived])
        cpu, began = self._served.cpu_seconds(), time.monotonic()
        _add(self._found.flooded, self._measured())
        cpu = (self._served.cpu_seconds() - cpu) / (time.monotonic() - began)
        self._found.cpu = max(self._found.cpu, cpu)
        self._look()

    def _until_let_go(self):
        """Have the flood hold what it has, and wait until the server has let go of all of it."""
        self._attack.hold()
        self._people.times()
        began = time.monotonic()
        if self._people.run(WATCHED_SECONDS, self._all_is_let_go, self._look):
            self._found.let_go = time.monotonic() - began
        self._found.parting = max(self._people.times()["update"], default=0.0)
        if self._found.let_go is None or self._found.let_go > LET_GO_SECONDS:
            left = f"{self._attack.held()} sockets and {self._level()}"
            self._found.failures.append(f"not let go within {LET_GO_SECONDS} s: {left}")

    def _all_is_let_go(self):
        few = connections(self._people.metrics) <= self._before["connections"]
        return (
            few and self._attack.held() == 0 and self._served.sockets() <= self._before["sockets"]
        )

    def _end(self):
        attack, self._attack = self._attack, None
        self._found.counts = attack.end()
        self._people.run(WATCHED_SECONDS, lambda: attack.held() == 0)
        self._people.run(SETTLE_SECONDS)

    def _note(self, after):
        for what, before in self._before.items():
            setattr(self._found, what, (before, self._peak[what], after[what]))
        if (grown := self._peak["resident"] - self._before["resident"]) > MOST_GROWN:
            self._found.failures.append(f"the process grew by {grown // MIB} MiB")


def _add(all_, new):
    for what, times in new.items():
        all_.setdefault(what, []).extend(times)
