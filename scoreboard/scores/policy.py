"""What "the score" is: how one update changes where a user stands."""

import math
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from ..errors import ScoreOutOfRange
from ..models import MAX_SCORE, MAX_TOTAL

# Totals are added up as whole numbers of billionths: with at most 9 decimals nothing is rounded.
DECIMALS = 9
BILLION = 10**DECIMALS


class Present(NamedTuple):
    """A user's score now, since when (server time), and the timestamp that came with it.

    Under `total`, `score` is the exact sum as a double and `remainder` the billionths that the
    exact sum has beyond it; under the other policies `remainder` is 0.
    """

    score: float
    reached_at: datetime
    achieved_at: datetime
    remainder: int = 0


# Score and remainder after an update.
Amount = tuple[float, int]
Policy = Callable[[Present, float, datetime], Amount | None]


def latest(present: Present, value: float, achieved_at: datetime) -> Amount | None:
    """Take the newest update for the score; of equal timestamps, the later arrival."""
    return (value, 0) if achieved_at >= present.achieved_at else None


def best(present: Present, value: float, achieved_at: datetime) -> Amount | None:
    """Take only a higher value, whenever it was reached."""
    return (value, 0) if value > present.score else None


def total(present: Present, value: float, achieved_at: datetime) -> Amount | None:
    """Add the values up exactly: the sum does not depend on the order in which they arrive."""
    exact = _billionths(present.score) + present.remainder + _billionths(value)
    score = exact / BILLION  # of two integers, Python returns the nearest double
    if MAX_SCORE * BILLION < abs(exact) < MAX_TOTAL * BILLION:
        # The nearest double may be the largest score: then the update would seem to be lost.
        score = math.copysign(MAX_TOTAL, exact)
    return score, exact - _billionths(score)


# Each returns the new score, or None where the update is history only.
POLICIES: dict[str, Policy] = {"latest": latest, "best": best, "total": total}


def has_few_decimals(value: float) -> bool:
    """Whether the value has at most DECIMALS decimals, written as short as possible."""
    return round(value, DECIMALS) == value


def after(
    policy: Policy, present: Present | None, value: float, achieved_at: datetime, now: datetime
) -> Present | None:
    """Return where the user stands after an update that came in `now`, None if it changes nothing.

    Without a `present` it is the user's first. Raises ScoreOutOfRange.
    """
    changed = apply(policy, present, value, achieved_at, now)
    if changed:
        check_range(changed)
    return changed


def apply(
    policy: Policy, present: Present | None, value: float, achieved_at: datetime, now: datetime
) -> Present | None:
    """Do what `after` does, without a look at the range."""
    amount = policy(present, value, achieved_at) if present else (value, 0)
    if amount is None:
        return None
    score, remainder = amount
    # An update that leaves the score as it was does not move its user behind a tie.
    reached_at = present.reached_at if present and present.score == score else now
    return Present(score, reached_at, achieved_at, remainder)


def check_range(present: Present) -> None:
    """Raise ScoreOutOfRange if the exact score is not strictly between +-MAX_TOTAL."""
    if abs(present.score) > MAX_SCORE:
        exact = _billionths(present.score) + present.remainder
        if abs(exact) >= MAX_TOTAL * BILLION:
            raise ScoreOutOfRange


def _billionths(value: float) -> int:
    """Return the value in billionths. Its decimal is the shortest that reads as this double."""
    if value.is_integer():
        return int(value) * BILLION
    return int(Decimal(repr(value)).scaleb(DECIMALS).to_integral_value())
