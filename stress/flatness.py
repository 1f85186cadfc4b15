"""Whether a process stays as it is: what is flat, and what is a leak.

Two comparisons, and both have to hold.

Under load: the medians of the first and of the last quarter of the samples after warm-up. A median
does not see the two passwords that are being hashed right now, at 32 MiB each.

At rest: the load stops, everybody leaves, and what is left is compared with what was left when they
had all left once before, after warm-up. Green threads, open files and threads must be the same to
the last one, for nobody is there whom they could belong to, and the pools were full both times.

Memory is never quite the same: the allocator keeps what it may need again, and what is remembered
on purpose (scores of users in rules of what is unusual, windows of limits) grows by a little with
every new user until its bound. So `LIMITS` grants some growth, and names it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

Sample = dict[str, Any]


@dataclass(frozen=True)
class Limit:
    """What one figure may grow by: a number of its own and a share of what it was."""

    name: str
    unit: str
    under_load: float
    at_rest: float
    share: float = 0.0

    def allows(self, first: float, last: float, granted: float) -> bool:
        """Whether this growth is none."""
        return last <= first * (1 + self.share) + granted


LIMITS = {
    "rss": Limit("memory", "MiB", under_load=8, at_rest=4, share=0.05),
    "objects": Limit("Python objects", "", under_load=4000, at_rest=1000, share=0.01),
    "files": Limit("open files", "", under_load=10, at_rest=0),
    "green": Limit("green threads", "", under_load=10, at_rest=0),
    "threads": Limit("threads", "", under_load=0, at_rest=0),
}


@dataclass(frozen=True)
class Row:
    """One figure of one comparison."""

    limit: Limit
    when: str
    first: float
    last: float
    granted: float

    @property
    def is_flat(self) -> bool:
        """Whether it has stayed as it was."""
        return self.limit.allows(self.first, self.last, self.granted)


def under_load(samples: Sequence[Sample]) -> list[Row]:
    """Compare the first and the last quarter of what was seen under load after warm-up."""
    quarter = len(samples) // 4
    assert quarter, "too few samples to say anything"
    return [
        Row(
            limit,
            "under load",
            median(sample[key] for sample in samples[:quarter]),
            median(sample[key] for sample in samples[-quarter:]),
            limit.under_load,
        )
        for key, limit in LIMITS.items()
    ]


def at_rest(first: Sample, last: Sample) -> list[Row]:
    """Compare what was left once everybody had left, after warm-up and at the end."""
    return [
        Row(limit, "at rest", first[key], last[key], limit.at_rest) for key, limit in LIMITS.items()
    ]


def grown_kinds(first: Sample, last: Sample, most: int = 8) -> list[tuple[str, int, int]]:
    """Return the types that there are most more objects of, with how many there were and are."""
    kinds = [(name, first["kinds"].get(name, 0), count) for name, count in last["kinds"].items()]
    grown = [kind for kind in kinds if kind[2] > kind[1]]
    return sorted(grown, key=lambda kind: kind[1] - kind[2])[:most]
