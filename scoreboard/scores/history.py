"""The history of a user's scores: reads the newest ones and voids a score.

Voiding recomputes the user's standing from the remaining scores. A history may have a million
scores, so most are read and folded before the transaction, which reads only the new ones.
"""

import contextlib
import functools
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, bindparam, delete, select, type_coerce, update
from sqlalchemy.types import NullType

from ..db import transactions as database
from ..errors import Conflict, NotFound, ScoreOutOfRange, ServerError
from ..models import Score, Standing
from .policy import Policy, Present, apply, check_range

# Rows per read: this many block the loop, or the interpreter, for some milliseconds.
PORTION = 1000
# Attempts; one fails if another process voids a score of the same user during the read.
MAX_TRIES = 5
# One void at a time per process: of concurrent ones, all but one would have to read again.
# Runs the function in a transaction that locks the board version, as Ledger.change does.
Change = Callable[[Callable[[Connection], "VoidedScore"]], "VoidedScore"]


@dataclass(frozen=True)
class VoidedScore:
    """A voided score. `voided_by` is None if it was voided on the command line."""

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
# NullType leaves timestamps as the driver returns them (text or datetime). Either form compares
# correctly, and converting them would take longer than everything else.
_ROWS_AFTER = (
    select(Score.score_id, Score.score_value, type_coerce(Score.achieved_at, NullType()))
    .where(Score.user_id == bindparam("user_id"), Score.score_id > bindparam("after"))
    .order_by(Score.score_id)
)
_PORTION_AFTER = _ROWS_AFTER.limit(bindparam("portion"))
_VOIDED_IDS = select(Score.score_id).where(
    Score.user_id == bindparam("user_id"), Score.voided_at.is_not(None)
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
    """Return up to `most` of the user's scores, newest first, older than score_id `before`."""
    found = _SCORES.where(Score.user_id == user_id)
    if before is not None:
        found = found.where(Score.score_id < before)
    return connection.execute(found.order_by(Score.score_id.desc()).limit(most)).all()


def void(
    score_id: int, voided_by: str | None, reason: str, policy: Policy, change: Change
) -> VoidedScore:
    """Void a score and recompute its user's standing from the other scores.

    The score stays in the history, so the same request remains a replay. With a long history this
    takes seconds, yielding to other work; the transaction, run by `change`, takes milliseconds.
    Raises NotFound, Conflict if the score is already voided or cannot be, and ServerError if other
    processes keep voiding scores of the same user.
    """
    for _ in range(MAX_TRIES):
        work = functools.partial(_void, _others(score_id, policy), voided_by, reason)
        with contextlib.suppress(_OutdatedError):
            return change(work)
    raise ServerError


class _OutdatedError(Exception):
    """Another score of the user was voided after the others were read."""


class _Others:
    """A user's valid scores except the one to void, and the standing they result in.

    `voided` has the ids of scores voided before. Score ids are in commit order: `last_id` is the
    last one read, `set_by` the last one that set the standing.
    """

    def __init__(self, score_id: int, user_id: str, voided: set[int], policy: Policy) -> None:
        self.score_id, self.user_id, self.voided = score_id, user_id, voided
        self.last_id = self.set_by = 0
        self._present: Present | None = None
        self._policy = policy

    def add(self, rows: Iterable[Any]) -> None:
        """Add rows in order of score_id; all must be newer than those added before."""
        for score_id, value, achieved_at in rows:
            self.last_id = score_id
            if score_id != self.score_id and score_id not in self.voided:
                # The id stands in for the server time, which `standing` reads for one row only.
                changed = apply(self._policy, self._present, value, achieved_at, score_id)
                if changed:
                    self._present, self.set_by = changed, score_id

    def standing(self, connection: Connection) -> dict[str, Any] | None:
        """Return the columns of the standing, None without scores. Raises ScoreOutOfRange."""
        if self._present is None:
            return None
        check_range(self._present)
        reached_by: Any = self._present.reached_at
        moments = select(Score.score_id, Score.created_at, Score.achieved_at).where(
            Score.score_id.in_([reached_by, self.set_by])
        )
        rows = {row.score_id: row for row in connection.execute(moments)}
        return {
            "score": self._present.score,
            "remainder": self._present.remainder,
            "reached_at": rows[reached_by].created_at,
            "achieved_at": rows[self.set_by].achieved_at,
            "score_id": self.set_by,
        }


def _others(score_id: int, policy: Policy) -> _Others:
    """Read the user's other scores, PORTION rows at a time, yielding to the loop in between.

    Raises NotFound or Conflict if the score cannot be voided.
    """

    def start(connection: Connection) -> _Others:
        statement = select(Score.user_id).where(
            Score.score_id == score_id, Score.voided_at.is_(None)
        )
        user_id = connection.execute(statement).scalar()
        if user_id is None:
            raise _not_there(connection, score_id)
        return _Others(score_id, user_id, _voided_ids(connection, user_id), policy)

    def portion(connection: Connection) -> Sequence[Any]:
        if connection.dialect.name == "postgresql":
            # Without statistics on this user, Postgres sorts the whole history for each read.
            connection.exec_driver_sql("SET LOCAL enable_sort = off")
        asked = {"user_id": others.user_id, "after": others.last_id, "portion": PORTION}
        return connection.execute(_PORTION_AFTER, asked).all()

    others = database.read(start)
    while True:
        started = time.perf_counter()
        rows = database.long_read(portion)
        others.add(rows)
        if len(rows) < PORTION:
            return others
        # Leaves at least a third of the time to other requests.
        time.sleep((time.perf_counter() - started) / 2)


def _void(
    others: _Others, voided_by: str | None, reason: str, connection: Connection
) -> VoidedScore:
    """Void the score and write its user's standing. Raises _OutdatedError or Conflict."""
    if _voided_ids(connection, others.user_id) != others.voided:
        raise _OutdatedError
    voided: Any = connection.execute(
        update(Score)
        .where(Score.score_id == others.score_id)
        .values(voided_at=datetime.now(UTC), voided_by=voided_by, void_reason=reason)
        .returning(*_VOIDED)
    ).one()
    asked = {"user_id": others.user_id, "after": others.last_id}
    others.add(connection.execute(_ROWS_AFTER, asked))
    _write_standing(connection, others)
    return VoidedScore(*voided)


def _voided_ids(connection: Connection, user_id: str) -> set[int]:
    return set(connection.execute(_VOIDED_IDS, {"user_id": user_id}).scalars())


def _not_there(connection: Connection, score_id: int) -> NotFound | Conflict:
    if connection.execute(select(Score.score_id).where(Score.score_id == score_id)).first():
        return Conflict("This score was voided before.", "already_voided")
    return NotFound("There is no score with this score_id.", "unknown_score")


def _write_standing(connection: Connection, others: _Others) -> None:
    """Write the user's standing from the other scores; delete it if none. Raises Conflict."""
    of_user = Standing.user_id == others.user_id
    try:
        standing = others.standing(connection)
    except ScoreOutOfRange:
        raise Conflict(
            "Without this score the total would leave the range of exact numbers.", "out_of_range"
        ) from None
    if standing:
        connection.execute(update(Standing).where(of_user).values(**standing))
    else:
        connection.execute(delete(Standing).where(of_user))
