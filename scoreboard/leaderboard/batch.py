"""A batch: one version of the board, as it is published."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Batch:
    """One version of the board: the updates that made it, and the top 10 after them.

    `updates` and `top10` are the `data` of the messages `score_update` and `top_10_update`.
    `received` is when the updates of this process came in, by its time.perf_counter.
    """

    version: int
    updates: list[dict[str, Any]]
    top10: dict[str, Any]
    received: list[float] = field(default_factory=list, compare=False)
