"""The history of a user's scores: read a page of it, and void a score.

Voiding recomputes the user's standing from the remaining scores. A history may have a million
scores, so most are read before the transaction, which reads only those added since.
"""

import contextlib
import functools
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, select, type_coerce, update
from sqlalchemy.types import NullType

from ..auth import tokens
from ..db import transactions
from ..errors import Conflict, NotFound, NotPermitted, ScoreOutOfRange, ServerError
from ..http.etags import CacheableBody
from ..leaderboard import ranking
from ..leaderboard.ranking import Snapshot
from ..leaderboard.service import conditional_body, cursor_serializer, open_cursor
from ..models import Score, Standing
from .policy import Policy, StandingState, apply, check_range
from .schemas import history_query_schema, past_scores_schema

# Rows per read: this many block the loop, or the interpreter, for some milliseconds.
CHUNK_SIZE = 1000
# Attempts; one fails if another process voids a score of the same user during the read.
MAX_TRIES = 5

VoidedScore = Row[Any]  # score_id, user_id, score_value, created_at and the columns of the void
# Runs the function in a transaction that locks the board version, as Ledger.change does.
Change = Callable[[Callable[[Connection], VoidedScore]], VoidedScore]

_PAST_SCORES = select(
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
_SCORES_AFTER = (
    select(Score.score_id, Score.score_value, type_coerce(Score.achieved_at, NullType()))
    .where(Score.user_id == bindparam("user_id"), Score.score_id > bindparam("after"))
    .order_by(Score.score_id)
)
_CHUNK_AFTER = _SCORES_AFTER.limit(bindparam("limit"))
_VOIDED_IDS = select(Score.score_id).where(
    Score.user_id == bindparam("user_id"), Score.voided_at.is_not(None)
)


def page(
    user_id: str, query: dict[str, str], token: str | None, known: Collection[str]
) -> CacheableBody:
    """Return a page of a user's `scores`, newest first, and the cursor `next`.

    The body is None if its ETag is in `known`. Requires the user's own token or one that may update
    anyone's score. Raises InvalidInput, NotAuthenticated, NotPermitted, and NotFound if the user
    does not exist. Blocks for the read.
    """
    caller = tokens.authenticate(token)
    parameters = history_query_schema.load({**query, "user_id": user_id})
    owner_id, limit = parameters["user_id"], parameters["limit"]
    if not caller.may_see_history(owner_id):
        raise NotPermitted("This token may not see that user's scores.")
    before = open_cursor("scores", parameters)

    cursors = cursor_serializer("scores")

    def read(snapshot: Snapshot) -> dict[str, Any]:
        ranking.check_user(snapshot.connection, owner_id)
        found = newest(snapshot.connection, owner_id, limit + 1, before)
        cursor = cursors.dumps(found[limit - 1].score_id) if len(found) > limit else None
        return {"scores": past_scores_schema.dump(found[:limit]), "next": cursor}

    return conditional_body(["scores", parameters], known, read)


def newest(
    connection: Connection, user_id: str, limit: int, before: int | None = None
) -> Sequence[Any]:
    """Return up to `limit` of the user's scores, newest first, older than score_id `before`."""
    found = _PAST_SCORES.where(Score.user_id == user_id)
    if before is not None:
        found = found.where(Score.score_id < before)
    return connection.execute(found.order_by(Score.score_id.desc()).limit(limit)).all()


def void(
    score_id: int, voided_by: str | None, reason: str, policy: Policy, change: Change
) -> VoidedScore:
    """Void a score, recompute its user's standing from the remaining scores, and return its row.

    The score stays in the history, so the same request remains a replay. `voided_by` is None on the
    command line. With a long history this takes seconds, yielding to other work; the transaction,
    run by `change`, takes milliseconds. Raises NotFound, Conflict if the score is already voided or
    cannot be, and ServerError if other processes keep voiding scores of the same user.
    """
    for _ in range(MAX_TRIES):
        rest = _read_remaining(score_id, policy)
        with contextlib.suppress(_Outdated):
            return change(functools.partial(_void, rest, voided_by, reason))
    raise ServerError


class _Outdated(Exception):
    """Another score of the user was voided after the remaining scores were read."""


class _RemainingScores:
    """The state that results from a user's scores without the score to void.

    `voided` has the ids of scores voided before. Score ids are in commit order: `newest_id` is the
    newest score read, `_set_by` the newest score that changed the state.
    """

    def __init__(self, score_id: int, user_id: str, voided: set[int], policy: Policy) -> None:
        self.score_id, self.user_id, self.voided = score_id, user_id, voided
        self.newest_id = 0
        self._set_by = 0
        self._state: StandingState | None = None
        self._policy = policy

    def add(self, rows: Iterable[Any]) -> None:
        """Apply rows in order of score_id; all must be newer than those added before."""
        for score_id, value, achieved_at in rows:
            self.newest_id = score_id
            if score_id != self.score_id and score_id not in self.voided:
                # The id stands in for the server time, which the database copies at the end.
                after = apply(self._policy, self._state, value, achieved_at, score_id)
                if after is not self._state:
                    self._state, self._set_by = after, score_id

    def write_standing(self, connection: Connection) -> None:
        """Write the user's standing; delete it if no scores are left. Raises ScoreOutOfRange."""
        of_user = Standing.user_id == self.user_id
        if self._state is None:
            connection.execute(delete(Standing).where(of_user))
            return
        check_range(self._state)
        reached_by: Any = self._state.reached_at
        created_at = select(Score.created_at).where(Score.score_id == reached_by)
        achieved_at = select(Score.achieved_at).where(Score.score_id == self._set_by)
        values = {
            "score": self._state.score,
            "remainder": self._state.remainder,
            "reached_at": created_at.scalar_subquery(),
            "achieved_at": achieved_at.scalar_subquery(),
            "score_id": self._set_by,
        }
        connection.execute(update(Standing).where(of_user).values(values))


def _read_remaining(score_id: int, policy: Policy) -> _RemainingScores:
    """Read the remaining scores in chunks, yielding to the loop. Raises NotFound or Conflict."""

    def start(connection: Connection) -> _RemainingScores:
        statement = select(Score.user_id, Score.voided_at).where(Score.score_id == score_id)
        row = connection.execute(statement).one_or_none()
        if row is None:
            raise NotFound("There is no score with this score_id.", "unknown_score")
        if row.voided_at:
            raise Conflict("This score was voided before.", "already_voided")
        voided = _voided_ids(connection, row.user_id)
        return _RemainingScores(score_id, row.user_id, voided, policy)

    def read_chunk(connection: Connection) -> Sequence[Any]:
        if connection.dialect.name == "postgresql":
            # Without statistics on this user, Postgres sorts the whole history for each read.
            connection.exec_driver_sql("SET LOCAL enable_sort = off")
        parameters = {"user_id": rest.user_id, "after": rest.newest_id, "limit": CHUNK_SIZE}
        return connection.execute(_CHUNK_AFTER, parameters).all()

    rest = transactions.read(start)
    while True:
        started = time.perf_counter()
        rows = transactions.long_read(read_chunk)
        rest.add(rows)
        if len(rows) < CHUNK_SIZE:
            return rest
        # Leaves at least a third of the time to other requests.
        time.sleep((time.perf_counter() - started) / 2)


def _void(
    rest: _RemainingScores, voided_by: str | None, reason: str, connection: Connection
) -> VoidedScore:
    """Void the score and write its user's standing. Raises _Outdated or Conflict."""
    if _voided_ids(connection, rest.user_id) != rest.voided:
        raise _Outdated
    voided: Any = connection.execute(
        update(Score)
        .where(Score.score_id == rest.score_id)
        .values(voided_at=datetime.now(UTC), voided_by=voided_by, void_reason=reason)
        .returning(
            Score.score_id,
            Score.user_id,
            Score.score_value,
            Score.created_at,
            Score.voided_at,
            Score.voided_by,
            Score.void_reason,
        )
    ).one()
    parameters = {"user_id": rest.user_id, "after": rest.newest_id}
    rest.add(connection.execute(_SCORES_AFTER, parameters))
    try:
        rest.write_standing(connection)
    except ScoreOutOfRange:
        raise Conflict(
            "Without this score the total would leave the range of exact numbers.", "out_of_range"
        ) from None
    return voided


def _voided_ids(connection: Connection, user_id: str) -> set[int]:
    return set(connection.execute(_VOIDED_IDS, {"user_id": user_id}).scalars())
