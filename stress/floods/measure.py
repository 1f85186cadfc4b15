"""Measure one flood against a new server: before it, during it, and until all is closed."""

from dataclasses import dataclass, field
from statistics import quantiles

from bench.load import Lost

from .attack import Attack
from .people import People
from .served import Served, connections

# Seconds.
WARM_UP_TIME = 4  # in which every player gets a score
UP_TIMEOUT = 20
SETTLE_TIME = 10  # of the flood, before the measurement
CLOSE_TIMEOUT = 60
MIB = 1024 * 1024
MAX_GROWTH = 96 * MIB  # by 2,000 connections


@dataclass
class Found:
    """The results of a flood. `quiet` and `flooded` have lists of seconds by kind of request."""

    name: str
    quiet: dict = field(default_factory=dict)
    flooded: dict = field(default_factory=dict)
    memory: tuple = (0, 0)  # bytes: before, peak
    closed_after: float | None = None
    counts: dict = field(default_factory=dict)
    failures: list = field(default_factory=list)


def percentile(times, cut):
    """Return this percentile of the times; infinity if there are fewer than two."""
    return quantiles(times, n=100)[cut - 1] if len(times) > 1 else float("inf")


def measure(name, seconds):
    """Flood a new server, measure for `seconds` before and during it, and return the results."""
    found = Found(name)
    served = Served()
    try:
        attack = Attack(name, served.target())
        try:
            _flood(found, served, attack, seconds)
        except Lost as reason:
            found.failures.append(str(reason))
        finally:
            found.counts = attack.end()
        found.failures += served.tracebacks()
    finally:
        served.stop()
    return found


def _flood(found, served, attack, seconds):
    people = People(served)
    people.run(WARM_UP_TIME)
    resident, sockets = served.resident_bytes(), served.sockets()
    live = connections(people.metrics)
    found.memory = (resident, resident)

    def look_at_memory():
        found.memory = (resident, max(served.resident_bytes(), found.memory[1]))

    def measured():
        people.times()
        people.run(seconds, beside=look_at_memory)
        return people.times()

    def is_all_closed():
        return (
            attack.held() == 0
            and served.sockets() <= sockets
            and connections(people.metrics) <= live
        )

    found.quiet = measured()
    attack.begin()
    people.run(UP_TIMEOUT, attack.is_up, look_at_memory)
    people.run(SETTLE_TIME, beside=look_at_memory)
    found.flooded = measured()
    attack.hold()
    found.closed_after = people.run_until(is_all_closed, CLOSE_TIMEOUT)
    if found.closed_after is None:
        left = f"{attack.held()} sockets, {connections(people.metrics) - live} live connections"
        found.failures.append(f"not closed within {CLOSE_TIMEOUT} s: {left}")
    if (growth := found.memory[1] - resident) > MAX_GROWTH:
        found.failures.append(f"the process grew by {growth // MIB} MiB")
    people.finish()
