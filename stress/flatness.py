"""Whether a process stays as it is: what is flat, and what is a leak.

Two comparisons, and both have to hold.

Under load: the medians of the first and of the last quarter of what was seen after warm-up, once
the viewers are there again. A median does not see the two passwords that are being hashed right
now, at 32 MiB each. How many clients there are at a time is theirs to say: of their sockets those
count that nobody is at the other end of any more, of the green threads those beyond one for each.

At rest: the load stops, everybody leaves, and what is left is compared with what was left when they
had all left once before, after warm-up. Files, green threads, sockets of clients and threads must
be the same to the last one, for nobody is there whom they could belong to.

Other figures are never quite the same. Connections: those to the database and to Redis are made
when there is more to do at a time than ever before, and kept. Memory: the allocator keeps what it
may need again, every connection to the database its last hundred statements. Objects, under load:
what is garbage is collected once there are a quarter more. Threads, under load: each of the two
passwords that may be hashed at a time has one. `LIMITS` says what is granted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

Sample = dict[str, Any]


@dataclass(frozen=True)
class Limit:
    """What a figure may grow by, under load and at rest: so many more, and a share of what it was.

    `unit` is for those who read it.
    """

    name: str
    unit: str
    under_load: tuple[float, float]
    at_rest: tuple[float, float]


LIMITS = {
    "rss": Limit("memory", "MiB", under_load=(16, 0.05), at_rest=(16, 0.05)),
    "objects": Limit("Python objects", "", under_load=(0, 0.1), at_rest=(1000, 0.01)),
    "files": Limit("open files", "", under_load=(1, 0), at_rest=(0, 0)),
    "connections": Limit("connections", "", under_load=(10, 0), at_rest=(10, 0)),
    "sockets": Limit("clients' sockets", "", under_load=(5, 0), at_rest=(0, 0)),
    "green": Limit("green threads", "", under_load=(10, 0), at_rest=(0, 0)),
    "threads": Limit("threads", "", under_load=(2, 0), at_rest=(0, 0)),
}


@dataclass(frozen=True)
class Row:
    """One figure of one comparison."""

    name: str
    unit: str
    when: str
    first: float
    last: float
    most: float

    @property
    def is_flat(self) -> bool:
        """Whether it has stayed as it was."""
        return self.last <= self.most


def under_load(samples: Sequence[Sample]) -> list[Row]:
    """Compare the first and the last quarter of what was seen under load.

    The first sixth of all is left out: until then some have yet to come.
    """
    samples = [_without_clients(sample) for sample in samples[len(samples) // 6 :]]
    quarter = len(samples) // 4
    assert quarter, "too few samples to say anything"

    first, last = samples[:quarter], samples[-quarter:]
    return [
        _row(limit, "under load", limit.under_load, _middle(key, first), _middle(key, last))
        for key, limit in LIMITS.items()
    ]


def _without_clients(sample: Sample) -> Sample:
    """Return what there is beyond the clients that are there, of whom every one has a thread."""
    return {**sample, "sockets": sample["gone"], "green": sample["green"] - sample["sockets"]}


def _middle(key: str, samples: Sequence[Sample]) -> float:
    return median(sample[key] for sample in samples)


def at_rest(first: Sample, last: Sample) -> list[Row]:
    """Compare what was left once everybody had left, after warm-up and at the end."""
    return [
        _row(limit, "at rest", limit.at_rest, first[key], last[key])
        for key, limit in LIMITS.items()
    ]


def _row(limit: Limit, when: str, granted: tuple[float, float], first: float, last: float) -> Row:
    more, share = granted
    return Row(limit.name, limit.unit, when, first, last, first * (1 + share) + more)


def grown_kinds(first: Sample, last: Sample, most: int = 8) -> list[tuple[str, int, int]]:
    """Return the types that there are most more objects of, with how many there were and are."""
    kinds = [(name, first["kinds"].get(name, 0), count) for name, count in last["kinds"].items()]
    grown = [kind for kind in kinds if kind[2] > kind[1]]
    return sorted(grown, key=lambda kind: kind[1] - kind[2])[:most]
