"""Score policies: how one update changes a user's score."""

import math
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from ..boards.board import BoardState
from ..errors import InvalidInput, ScoreOutOfRange
from ..http.fields import number
from ..models import MAX_SCORE, MAX_TOTAL

# Totals are summed as integers in billionths: with at most 9 decimals nothing is rounded.
DECIMALS = 9
BILLION = 10**DECIMALS


class StandingState(NamedTuple):
    """A user's score, the server time it was reached, and the timestamp of its update.

    Under `total`, `score` is the exact sum as a double and `remainder` the billionths that the
    exact sum has beyond it; under the other policies `remainder` is 0.
    """

    score: float
    reached_at: datetime
    achieved_at: datetime
    remainder: int = 0


# Returns the new score and remainder, or None if the update only enters the history.
Policy = Callable[[StandingState, float, datetime], tuple[float, int] | None]


def latest(state: StandingState, value: float, achieved_at: datetime) -> tuple[float, int] | None:
    """Use the update with the newest timestamp; of equal timestamps, the later arrival."""
    return (value, 0) if achieved_at >= state.achieved_at else None


def best(state: StandingState, value: float, achieved_at: datetime) -> tuple[float, int] | None:
    """Use the highest value, whatever its timestamp."""
    return (value, 0) if value > state.score else None


def lowest(state: StandingState, value: float, achieved_at: datetime) -> tuple[float, int] | None:
    """Use the lowest value: `best` where lower is better."""
    return (value, 0) if value < state.score else None


def total(state: StandingState, value: float, achieved_at: datetime) -> tuple[float, int] | None:
    """Add the values exactly: the sum does not depend on the order of arrival."""
    exact = _exact(state) + _billionths(value)
    score = exact / BILLION  # Python divides integers to the nearest double
    if MAX_SCORE * BILLION < abs(exact) < MAX_TOTAL * BILLION:
        # The nearest double may be MAX_SCORE: the update would then seem lost.
        score = math.copysign(MAX_TOTAL, exact)
    return score, exact - _billionths(score)


_POLICIES: dict[tuple[str, str], Policy] = {
    ("latest", "desc"): latest,
    ("latest", "asc"): latest,
    ("best", "desc"): best,
    ("best", "asc"): lowest,
    ("total", "desc"): total,
    ("total", "asc"): total,
}


def policy_of(board: BoardState) -> Policy:
    """Return the policy of the board."""
    return _POLICIES[board.policy, board.order]


def check_value(board: BoardState, value: float) -> None:
    """Raise InvalidInput unless a score of this value can count on the board."""
    if not board.has_in_range(value):
        problem = {"score_value": [f"Must be {_bounds(board)}."]}
        message = "The value is not within the bounds of this board."
        raise InvalidInput(message, problem, "score_out_of_range")
    if board.policy == "total" and not has_few_decimals(value):
        problem = {"score_value": [f"Must have at most {DECIMALS} decimals."]}
        raise InvalidInput("The value has too many decimals to be added up exactly.", problem)


def value_of_change(board: BoardState, state: StandingState | None, change: float) -> float:
    """Return the value of the update that adds `change` to a user's score, exactly.

    Raises InvalidInput unless the policy of the board has such an update, and ScoreOutOfRange.
    """
    if board.policy == "best":
        problem = {"change": ["Void the wrong score, and enter the right one as score_value."]}
        raise InvalidInput("The best score counts on this board: it cannot be changed.", problem)
    if board.policy == "total" or state is None:
        return change
    value = float(Decimal(repr(state.score)) + Decimal(repr(change)))
    if abs(value) > MAX_SCORE:
        raise ScoreOutOfRange
    return value


def latest_time(state: StandingState | None, now: datetime) -> datetime:
    """Return a timestamp with which `latest` applies an update received at `now`."""
    return max(now, state.achieved_at) if state else now


def _bounds(board: BoardState) -> str:
    low = "" if board.min_score is None else f"at least {number(board.min_score)}"
    high = "" if board.max_score is None else f"at most {number(board.max_score)}"
    return " and ".join(filter(None, (low, high)))


def counts(board: BoardState, value: float) -> bool:
    """Whether a score of this value, accepted by the ledger, counts on this derived board now."""
    try:
        check_value(board, value)
    except InvalidInput:
        return False
    return board.state == "open"


def has_few_decimals(value: float) -> bool:
    """Whether the shortest decimal form of the value has at most DECIMALS decimals."""
    return round(value, DECIMALS) == value


def apply(
    policy: Policy, state: StandingState | None, value: float, achieved_at: datetime, now: datetime
) -> StandingState:
    """Return the state after an update received at `now`: `state` itself if it changes nothing.

    `state` is None before the user's first update. Does not check the range.
    """
    if state is None:
        return StandingState(value, now, achieved_at)
    amount = policy(state, value, achieved_at)
    if amount is None:
        return state
    score, remainder = amount
    # An update that does not change the score must not move its user behind a tie.
    reached_at = state.reached_at if state.score == score else now
    return StandingState(score, reached_at, achieved_at, remainder)


def check_range(state: StandingState) -> None:
    """Raise ScoreOutOfRange unless the exact score is strictly between -/+ MAX_TOTAL."""
    if abs(state.score) > MAX_SCORE and abs(_exact(state)) >= MAX_TOTAL * BILLION:
        raise ScoreOutOfRange


def _exact(state: StandingState) -> int:
    return _billionths(state.score) + state.remainder


def _billionths(value: float) -> int:
    """Return the value in billionths, from the shortest decimal that reads as this double."""
    if value.is_integer():
        return int(value) * BILLION
    return int(Decimal(repr(value)).scaleb(DECIMALS).to_integral_value())
