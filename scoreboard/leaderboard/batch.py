"""A batch: one version of the board, as it is published."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Batch:
    """One version of the board: its updates and the resulting top 10.

    `updates` and `top10` are the `data` of the messages `score_update` and `top_10_update`.
    `received` holds the arrival times of this process's updates, by its time.perf_counter.
    """

    version: int
    updates: list[dict[str, Any]]
    top10: dict[str, Any]
    received: list[float] = field(default_factory=list, compare=False)
