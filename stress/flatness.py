"""Compare samples of a process to detect leaks, under load and at rest.

Under load: compares the medians of the first and last quarter of the samples after warm-up, once
the viewers are connected again. A median ignores the up to two passwords being hashed at a time,
at 32 MiB each. The number of clients varies, so only sockets that their clients have left count,
and only green threads beyond one per client socket.

At rest: the load stops and all clients leave, once after warm-up and once at the end. Files, green
threads, client sockets and threads must not increase, since there are no clients.

Other figures vary. Connections to the database and Redis are opened at a new peak of load, and
kept. Memory: the allocator keeps freed memory, and each database connection caches its last hundred
statements. Objects under load: garbage is collected once there are a quarter more. Threads under
load: each of the up to two passwords being hashed has one. `LIMITS` defines the tolerances.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

Sample = dict[str, Any]


@dataclass(frozen=True)
class Limit:
    """How much a figure may grow, under load and at rest: an absolute amount plus a share.

    `unit` is for the printed report.
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
    """One figure of one comparison; `most` is the largest allowed value of `last`."""

    name: str
    unit: str
    when: str
    first: float
    last: float
    most: float

    @property
    def is_flat(self) -> bool:
        """Whether the figure has grown by no more than its limit."""
        return self.last <= self.most


def under_load(samples: Sequence[Sample]) -> list[Row]:
    """Compare the first and the last quarter of the samples under load.

    The first sixth of the samples is ignored, because not all clients are connected yet.
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
    """Return the sample without connected clients and their green threads, one per socket."""
    return {**sample, "sockets": sample["gone"], "green": sample["green"] - sample["sockets"]}


def _middle(key: str, samples: Sequence[Sample]) -> float:
    return median(sample[key] for sample in samples)


def at_rest(first: Sample, last: Sample) -> list[Row]:
    """Compare two samples at rest: after warm-up and at the end."""
    return [
        _row(limit, "at rest", limit.at_rest, first[key], last[key])
        for key, limit in LIMITS.items()
    ]


def _row(limit: Limit, when: str, granted: tuple[float, float], first: float, last: float) -> Row:
    more, share = granted
    return Row(limit.name, limit.unit, when, first, last, first * (1 + share) + more)


def grown_kinds(first: Sample, last: Sample, most: int = 8) -> list[tuple[str, int, int]]:
    """Return the types whose object counts grew most, each with the old and the new count."""
    kinds = [(name, first["kinds"].get(name, 0), count) for name, count in last["kinds"].items()]
    grown = [kind for kind in kinds if kind[2] > kind[1]]
    return sorted(grown, key=lambda kind: kind[1] - kind[2])[:most]
