"""What "the score" is: how one update changes where a user stands."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Present:
    """A user's score now, since when (server time), and the timestamp that came with it."""

    score: float
    reached_at: datetime
    achieved_at: datetime


Policy = Callable[[Present, float, datetime], float | None]


def latest(present: Present, value: float, achieved_at: datetime) -> float | None:
    """Take the newest update for the score; of equal timestamps, the later arrival."""
    return value if achieved_at >= present.achieved_at else None


def best(present: Present, value: float, achieved_at: datetime) -> float | None:
    """Take only a higher value, whenever it was reached."""
    return value if value > present.score else None


def total(present: Present, value: float, achieved_at: datetime) -> float | None:
    """Add the values up, in whatever order they arrive."""
    return present.score + value


# Each returns the new score, or None where the update is history only.
POLICIES: dict[str, Policy] = {"latest": latest, "best": best, "total": total}
