"""The history of a user's scores: the newest of them, and one that is voided.

Where the user stands is then decided by the rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, delete, select, update

from ..errors import Conflict, NotFound, ScoreOutOfRange
from ..models import Score, Standing
from .policy import Policy, Present, after

PORTION = 1000


@dataclass(frozen=True)
class VoidedScore:
    """A score that counts no more. `voided_by` is None for whoever has the command line."""

    score_id: int
    user_id: str
    score_value: float
    created_at: datetime
    voided_at: datetime
    voided_by: str | None
    void_reason: str


_SCORES = select(
    Score.score_id,
    Score.score_value,
    Score.achieved_at,
    Score.created_at,
    Score.score,
    Score.applied,
    Score.voided_at,
)
_VOIDED = (
    Score.score_id,
    Score.user_id,
    Score.score_value,
    Score.created_at,
    Score.voided_at,
    Score.voided_by,
    Score.void_reason,
)


def newest(
    connection: Connection, user_id: str, most: int, before: int | None = None
) -> Sequence[Any]:
    """Return the user's newest scores, at most so many, of those before that score_id if given."""
    found = _SCORES.where(Score.user_id == user_id)
    if before is not None:
        found = found.where(Score.score_id < before)
    return connection.execute(found.order_by(Score.score_id.desc()).limit(most)).all()


def void(
    connection: Connection, score_id: int, voided_by: str | None, reason: str, policy: Policy
) -> VoidedScore:
    """Void a score: its user then stands where the other scores would have led.

    The caller holds the board's version. The score stays in the history, so that the same request
    remains a replay. Raises NotFound, and Conflict if it is voided already or cannot be.
    """
    voided: Any = connection.execute(
        update(Score)
        .where(Score.score_id == score_id, Score.voided_at.is_(None))
        .values(voided_at=datetime.now(UTC), voided_by=voided_by, void_reason=reason)
        .returning(*_VOIDED)
    ).one_or_none()
    if voided is None:
        raise _not_there(connection, score_id)
    try:
        _stand_anew(connection, voided.user_id, policy)
    except ScoreOutOfRange:
        raise Conflict(
            "Without this score the total would leave the range of exact numbers.", "out_of_range"
        ) from None
    return VoidedScore(*voided)


def _not_there(connection: Connection, score_id: int) -> NotFound | Conflict:
    if connection.execute(select(Score.score_id).where(Score.score_id == score_id)).first():
        return Conflict("This score was voided before.", "already_voided")
    return NotFound("There is no score with this score_id.", "unknown_score")


def _stand_anew(connection: Connection, user_id: str, policy: Policy) -> None:
    """Write where the user stands by the scores that are not voided; with none, nowhere."""
    present, score_id = _fold(connection, user_id, policy)
    if present is None:
        connection.execute(delete(Standing).where(Standing.user_id == user_id))
        return
    connection.execute(
        update(Standing)
        .where(Standing.user_id == user_id)
        .values(**present._asdict(), score_id=score_id)
    )


def _fold(
    connection: Connection, user_id: str, policy: Policy
) -> tuple[Present | None, int | None]:
    """Return where the scores that are not voided lead, and which of them set the score."""
    present, set_by = None, None
    for row in connection.execute(_in_order(user_id)):
        changed = after(policy, present, row.score_value, row.achieved_at, row.created_at)
        if changed:
            present, set_by = changed, row.score_id
    return present, set_by


def _in_order(user_id: str) -> Any:
    # By version before the clock: those of several machines are never quite the same. A score
    # without a version was there before every update.
    return (
        select(Score.score_id, Score.score_value, Score.achieved_at, Score.created_at)
        .where(Score.user_id == user_id, Score.voided_at.is_(None))
        .order_by(Score.version.nulls_first(), Score.created_at, Score.score_id)
        # A hundred thousand rows take half a second: never all in memory, and with Postgres
        # others get their turn between two portions.
        .execution_options(yield_per=PORTION)
    )
