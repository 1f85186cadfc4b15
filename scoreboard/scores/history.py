"""The history of a user's scores: read a page of it, void a score, and restore one.

The latter two recompute the user's standing from the remaining scores. A history may have a million
scores, so most are read before the transaction, which reads only those added since.
"""

import contextlib
import functools
import time
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
from sqlalchemy import (
    Connection,
    Row,
    bindparam,
    delete,
    insert,
    select,
    type_coerce,
    update,
)
from sqlalchemy.types import NullType

from ..auth import tokens
from ..boards import images, versions
from ..boards.board import BoardState
from ..boards.store import LedgerBoards
from ..db import transactions
from ..errors import Conflict, InvalidInput, NotFound, NotPermitted, ScoreOutOfRange, ServerError
from ..http.etags import CacheableBody
from ..leaderboard import ranking
from ..leaderboard.ranking import Snapshot
from ..leaderboard.service import Scope, conditional_body, cursor_serializer, open_cursor
from ..models import MAIN, Score, Standing, User
from ..services import services
from .policy import StandingState, apply, check_range, policy_of
from .schemas import history_query_schema, moderated_scores_schema, past_scores_schema

# Rows per read: this many block the loop, or the interpreter, for some milliseconds.
CHUNK_SIZE = 1000
# Attempts; one fails if another process voids a score of the same user during the read.
MAX_TRIES = 5

# score_id, user_id, score_value, created_at, and of a voided score the columns of the void.
ModeratedScore = Row[Any]

_PAST_SCORES = select(
    Score.score_id,
    Score.score_value,
    Score.achieved_at,
    Score.created_at,
    Score.score,
    Score.applied,
    Score.voided_at,
    Score.void_reason,
)
# NullType leaves timestamps as the driver returns them (text or datetime). Either form compares
# correctly, and converting them would take longer than everything else.
_SCORES_AFTER = (
    select(
        Score.score_id,
        Score.score_value,
        type_coerce(Score.achieved_at, NullType()),
        Score.season,
        Score.derived,
    )
    .where(
        Score.user_id == bindparam("user_id"),
        Score.board_id == bindparam("ledger_id"),
        Score.score_id > bindparam("after"),
        Score.score_id <= bindparam("until"),
    )
    .order_by(Score.score_id)
)
_CHUNK_AFTER = _SCORES_AFTER.limit(bindparam("limit"))
_VOIDED_IDS = select(Score.score_id).where(
    Score.user_id == bindparam("user_id"), Score.voided_at.is_not(None)
)


def page(
    user_id: str, query: dict[str, str], token: str | None, known: Collection[str]
) -> CacheableBody:
    """Return a page of a user's `scores` in a ledger, newest first, and the cursor `next`.

    The body is None if its ETag is in `known`. Requires the user's own token or one that may update
    anyone's score; for an admin, voided scores have their reason. Raises InvalidInput,
    NotAuthenticated, NotPermitted, UnknownBoard, and NotFound if the user does not exist. Blocks
    for the read.
    """
    caller = tokens.authenticate(token)
    parameters = history_query_schema.load({**query, "user_id": user_id})
    owner_id, limit = parameters["user_id"], parameters["limit"]
    if not caller.may_see_history(owner_id):
        raise NotPermitted("This token may not see that user's scores.")
    board = _ledger(parameters.get("board", MAIN))
    before = open_cursor("scores", parameters)

    cursors = cursor_serializer("scores")
    is_admin = caller.may("users:manage")
    schema = moderated_scores_schema if is_admin else past_scores_schema

    def read(snapshot: Snapshot) -> dict[str, Any]:
        ranking.check_user(snapshot.connection, owner_id)
        found = newest(snapshot.connection, owner_id, board.board_id, limit + 1, before)
        cursor = cursors.dumps(found[limit - 1].score_id) if len(found) > limit else None
        return {"scores": schema.dump(found[:limit]), "next": cursor}

    scope = Scope(board.board_id, live=True)
    # The ETag of others is that of earlier releases.
    kind = "moderated scores" if is_admin else "scores"
    return conditional_body([kind, parameters], known, read, scope)


def _ledger(board_id: str) -> BoardState:
    """Return the board. Raises UnknownBoard, or InvalidInput if it is derived."""
    board = services().boards.get(board_id)
    if board.source:
        problem = {"board": [f"Name {board.source}: its scores count here as well."]}
        raise InvalidInput("This board has no scores of its own.", problem, "board_derived")
    return board


def newest(
    connection: Connection, user_id: str, ledger_id: str, limit: int, before: int | None = None
) -> Sequence[Any]:
    """Return up to `limit` of the user's scores in a ledger, newest first, older than `before`."""
    found = _PAST_SCORES.where(Score.user_id == user_id, Score.board_id == ledger_id)
    if before is not None:
        found = found.where(Score.score_id < before)
    return connection.execute(found.order_by(Score.score_id.desc()).limit(limit)).all()


def void(score_id: int, voided_by: str | None, reason: str) -> ModeratedScore:
    """Void a score and return its row.

    On each board and in each season in which it counts, the user's remaining scores then set
    the standing. The score stays in the history, so the same request remains a replay.
    `voided_by` is None on the command line. With a long history this takes seconds, yielding to
    other work; the transaction of the ledger takes milliseconds. Raises NotFound, Conflict if
    the score is already voided or cannot be, UnknownBoard if its board is archived, and
    ServerError if other processes keep voiding scores of the same user.
    """
    columns = {"voided_by": voided_by, "void_reason": reason}
    return _recompute(score_id, {"voided_at": datetime.now(UTC), **columns})


def restore(score_id: int) -> ModeratedScore:
    """Undo the void of a score, which counts again in its place, and return its row; see `void`.

    Raises Conflict if the score is not voided or cannot be restored.
    """
    return _recompute(score_id, dict.fromkeys(("voided_at", "voided_by", "void_reason")))


def _recompute(score_id: int, values: dict[str, Any]) -> ModeratedScore:
    """Set the columns of a void to these values, and write the standings that result."""
    restores = values["voided_at"] is None
    for _ in range(MAX_TRIES):
        rest = _read_remaining(score_id, restores)
        with contextlib.suppress(_Outdated):
            ledger = services().ledgers.get(rest.ledger_id)
            return ledger.change(functools.partial(_write, rest, values))
    raise ServerError


class _Outdated(Exception):
    """Another score of the user was voided or restored after its scores were read."""


class _Fold:
    """The standing that results from a user's scores in one season of a board.

    Scores are added in the order of their ids, the order of the commits.
    """

    def __init__(self, board: BoardState, season: int) -> None:
        self.board, self.season = board, season
        self._policy = policy_of(board)
        self._state: StandingState | None = None
        self._set_by = 0  # the newest score that changed the state

    def add(self, score_id: int, value: float, achieved_at: Any) -> None:
        """Apply a score that counts here."""
        # The id stands in for the server time, which the database copies at the end.
        now: Any = score_id
        after = apply(self._policy, self._state, value, achieved_at, now)
        if after is not self._state:
            self._state, self._set_by = after, score_id

    def write_standing(self, connection: Connection, user_id: str) -> None:
        """Write the user's standing; delete it if no scores are left. Raises ScoreOutOfRange."""
        of_user = (
            (Standing.user_id == user_id)
            & (Standing.board_id == self.board.board_id)
            & (Standing.season == self.season)
        )
        if self._state is None:
            connection.execute(delete(Standing).where(of_user))
            return
        check_range(self._state)
        reached_by: Any = self._state.reached_at
        created_at = select(Score.created_at).where(Score.score_id == reached_by)
        achieved_at = select(Score.achieved_at).where(Score.score_id == self._set_by)
        values = {
            "rank_key": self.board.sign * self._state.score,
            "remainder": self._state.remainder,
            "reached_at": created_at.scalar_subquery(),
            "achieved_at": achieved_at.scalar_subquery(),
            "score_id": self._set_by,
        }
        written = update(Standing).where(of_user).values(values).returning(Standing.user_id)
        if not connection.execute(written).first():
            self._insert_standing(connection, user_id, values)

    def _insert_standing(
        self, connection: Connection, user_id: str, values: dict[str, Any]
    ) -> None:
        """Insert the standing of a user without one; an erased user, without a name, gets none."""
        named = (User.user_id == user_id) & User.username.is_not(None)
        hidden = connection.execute(select(User.hidden_at.is_not(None)).where(named)).scalar()
        if hidden is not None:
            key = {"user_id": user_id, "board_id": self.board.board_id, "season": self.season}
            connection.execute(insert(Standing).values(**key, **values, hidden=hidden))


class _RemainingScores:
    """A user's scores in a ledger that will count, and the standings they result in.

    `voided` has the ids of the scores that are voided now, `excluded` those that will be. `after`
    and `until` are the ids between which the scores of the affected seasons are; `after` moves on
    with the scores read.
    """

    def __init__(
        self, score: Any, voided: set[int], folds: list[_Fold], after: int, until: int
    ) -> None:
        self.score_id, self.user_id, self.ledger_id = score.score_id, score.user_id, score.board_id
        self.voided, self.excluded = voided, voided ^ {score.score_id}
        self.after, self.until = after, until
        self.folds = {(fold.board.board_id, fold.season): fold for fold in folds}

    def add(self, rows: Iterable[Any]) -> None:
        """Apply rows in order of score_id; all must be newer than those added before."""
        has_derived = len(self.folds) > 1
        for score_id, value, achieved_at, season, derived in rows:
            self.after = score_id
            if score_id in self.excluded:
                continue
            fold = self.folds.get((self.ledger_id, season))
            if fold:
                fold.add(score_id, value, achieved_at)
            for each in _counted(derived) if has_derived else ():
                fold = self.folds.get(each)
                if fold:
                    fold.add(score_id, value, achieved_at)

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of a query for the scores that are still to be read."""
        of_user = {"user_id": self.user_id, "ledger_id": self.ledger_id}
        return {**of_user, "after": self.after, "until": self.until}


def _check_row(row: Any, restores: bool) -> None:
    """Raise NotFound or Conflict unless the score can be voided or, if it `restores`, restored."""
    if row is None:
        raise NotFound("There is no score with this score_id.", "unknown_score")
    if row.voided_at and not restores:
        raise Conflict("This score was voided before.", "already_voided")
    if restores and not row.voided_at:
        raise Conflict("This score is not voided.", "not_voided")


def _counted(derived: str | None) -> list[tuple[str, int]]:
    """Return the derived boards, and their seasons, in which a score counts."""
    return [(board_id, season) for board_id, (season, _) in orjson.loads(derived or "{}").items()]


def _read_remaining(score_id: int, restores: bool) -> _RemainingScores:
    """Read the scores that will count in chunks, yielding to the loop.

    Raises NotFound, or Conflict if the score is voided already or, if it `restores`, not voided.
    """
    boards = services().boards.store

    def start(connection: Connection) -> _RemainingScores:
        columns = (Score.score_id, Score.user_id, Score.board_id, Score.season, Score.derived)
        statement = select(*columns, Score.voided_at).where(Score.score_id == score_id)
        row: Any = connection.execute(statement).one_or_none()
        _check_row(row, restores)
        counted = [(row.board_id, row.season), *_counted(row.derived)]
        folds = [
            _Fold(board, season)
            for board_id, season in counted
            if (board := boards.find(connection, board_id))
        ]
        after, until = boards.score_ids(connection, counted)
        return _RemainingScores(row, _voided_ids(connection, row.user_id), folds, after, until)

    def read_chunk(connection: Connection) -> Sequence[Any]:
        if connection.dialect.name == "postgresql":
            # Without statistics on this user, Postgres sorts the whole history for each read.
            connection.exec_driver_sql("SET LOCAL enable_sort = off")
        return connection.execute(_CHUNK_AFTER, {**rest.parameters(), "limit": CHUNK_SIZE}).all()

    rest = transactions.read(start)
    while True:
        started = time.perf_counter()
        rows = transactions.long_read(read_chunk)
        rest.add(rows)
        if len(rows) < CHUNK_SIZE:
            return rest
        # Leaves at least a third of the time to other requests.
        time.sleep((time.perf_counter() - started) / 2)


def _write(
    rest: _RemainingScores,
    values: dict[str, Any],
    connection: Connection,
    boards: LedgerBoards,
    now: datetime,
) -> ModeratedScore:
    """Void or restore the score and write its user's standings. Raises _Outdated or Conflict."""
    if _voided_ids(connection, rest.user_id) != rest.voided:
        raise _Outdated
    written: Any = connection.execute(
        update(Score)
        .where(Score.score_id == rest.score_id)
        .values(values)
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
    rest.add(connection.execute(_SCORES_AFTER, rest.parameters()))
    try:
        for fold in rest.folds.values():
            fold.write_standing(connection, rest.user_id)
    except ScoreOutOfRange:
        raise Conflict(
            "The total would then leave the range of exact numbers.", "out_of_range"
        ) from None
    versions.touch(connection, [board_id for board_id, _ in rest.folds])
    images.touch_ended(connection, rest.folds.keys())
    return written


def _voided_ids(connection: Connection, user_id: str) -> set[int]:
    return set(connection.execute(_VOIDED_IDS, {"user_id": user_id}).scalars())
