"""Score policies: how one update changes a user's score."""

import math
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from ..errors import ScoreOutOfRange
from ..models import MAX_SCORE, MAX_TOTAL

# Totals are summed as integers in billionths: with at most 9 decimals nothing is rounded.
DECIMALS = 9
BILLION = 10**DECIMALS


class Present(NamedTuple):
    """A user's current score, since when (server time), and the timestamp of its update.

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
    """Use the update with the newest timestamp; of equal timestamps, the later arrival."""
    return (value, 0) if achieved_at >= present.achieved_at else None


def best(present: Present, value: float, achieved_at: datetime) -> Amount | None:
    """Use the highest value, whatever its timestamp."""
    return (value, 0) if value > present.score else None


def total(present: Present, value: float, achieved_at: datetime) -> Amount | None:
    """Add the values exactly: the sum does not depend on the order of arrival."""
    exact = _billionths(present.score) + present.remainder + _billionths(value)
    score = exact / BILLION  # Python divides integers to the nearest double
    if MAX_SCORE * BILLION < abs(exact) < MAX_TOTAL * BILLION:
        # The nearest double may be MAX_SCORE: the update would then seem lost.
        score = math.copysign(MAX_TOTAL, exact)
    return score, exact - _billionths(score)


# Each returns the new score and remainder, or None if the update only enters the history.
POLICIES: dict[str, Policy] = {"latest": latest, "best": best, "total": total}


def has_few_decimals(value: float) -> bool:
    """Whether the shortest decimal form of the value has at most DECIMALS decimals."""
    return round(value, DECIMALS) == value


def after(
    policy: Policy, present: Present | None, value: float, achieved_at: datetime, now: datetime
) -> Present | None:
    """Return the user's score after an update received at `now`, None if it changes nothing.

    `present` is None for the user's first update. Raises ScoreOutOfRange.
    """
    changed = apply(policy, present, value, achieved_at, now)
    if changed:
        check_range(changed)
    return changed


def apply(
    policy: Policy, present: Present | None, value: float, achieved_at: datetime, now: datetime
) -> Present | None:
    """Do the same as `after`, without the range check."""
    amount = policy(present, value, achieved_at) if present else (value, 0)
    if amount is None:
        return None
    score, remainder = amount
    # An update that does not change the score must not move its user behind a tie.
    reached_at = present.reached_at if present and present.score == score else now
    return Present(score, reached_at, achieved_at, remainder)


def check_range(present: Present) -> None:
    """Raise ScoreOutOfRange unless the exact score is strictly between -/+ MAX_TOTAL."""
    if abs(present.score) > MAX_SCORE:
        exact = _billionths(present.score) + present.remainder
        if abs(exact) >= MAX_TOTAL * BILLION:
            raise ScoreOutOfRange


def _billionths(value: float) -> int:
    """Return the value in billionths, from the shortest decimal that reads as this double."""
    if value.is_integer():
        return int(value) * BILLION
    return int(Decimal(repr(value)).scaleb(DECIMALS).to_integral_value())
