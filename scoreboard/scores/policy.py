"""What "the score" is: how one update changes where a user stands."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from ..errors import ScoreOutOfRange
from ..models import MAX_SCORE


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


def after(
    policy: Policy, present: Present | None, value: float, achieved_at: datetime, now: datetime
) -> Present | None:
    """Return where the user stands after an update that came in `now`, None if it changes nothing.

    Without a `present` it is the user's first. Raises ScoreOutOfRange.
    """
    score = policy(present, value, achieved_at) if present else value
    if score is None:
        return None
    if abs(score) > MAX_SCORE:
        raise ScoreOutOfRange
    # An update that leaves the score as it was does not move its user behind a tie.
    reached_at = present.reached_at if present and present.score == score else now
    return Present(score, reached_at, achieved_at)
