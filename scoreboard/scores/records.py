"""The work of a ledger transaction: detect replays, apply updates, write scores and standings.

Statements are cached: building one takes longer than executing it. Postgres gets all rows as one
JSON text: parsing a parameter per value would cost several times as much as the execution.
"""

import functools
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import (
    JSON,
    Connection,
    Executable,
    Text,
    bindparam,
    cast,
    column,
    func,
    select,
    tuple_,
)

from ..db import transactions
from ..errors import Replayed, ScoreboardError, UnknownUser
from ..extensions import Base
from ..http.fields import moment, number
from ..models import Score, Standing, User
from .policy import Policy, StandingState, apply, check_range

SCORE_COLUMNS = (
    *("user_id", "score_value", "created_at", "achieved_at", "identity", "submitted_by"),
    *("sent_timestamp", "score", "applied", "version"),
)
STATE_COLUMNS = StandingState._fields
STANDING_COLUMNS = ("user_id", *STATE_COLUMNS, "score_id", "hidden")

Key = tuple[str, str, str]  # user_id, submitted_by, identity: accepted once
_KEY = (Score.user_id, Score.submitted_by, Score.identity)


@dataclass(frozen=True)
class Update:
    """A validated, authorized request to update a score.

    `achieved_at` is never later than the arrival. `sent_timestamp` is the request's timestamp if
    that was ahead of the server's clock, else None. `received` is the time of arrival in seconds
    of time.perf_counter.
    """

    user_id: str
    score_value: float
    achieved_at: datetime
    identity: str
    submitted_by: str
    sent_timestamp: datetime | None = None
    received: float = field(default_factory=time.perf_counter, compare=False)

    @property
    def key(self) -> Key:
        """Return the key that identifies this request."""
        return self.user_id, self.submitted_by, self.identity


@dataclass(frozen=True)
class Receipt:
    """The result of an accepted update. `score` is the user's score after it."""

    user_id: str
    score: float
    score_id: int
    created_at: datetime
    applied: bool

    def body(self) -> dict[str, Any]:
        """Return the receipt as the body of the 200 response."""
        return {
            "user_id": self.user_id,
            "score": number(self.score),
            "score_id": self.score_id,
            "created_at": moment(self.created_at),
            "applied": self.applied,
        }


Outcome = Receipt | ScoreboardError


class ReplayError(Exception):
    """Some keys are already in the database: repeat the transaction with `keys` as replays."""

    def __init__(self, keys: set[Key]) -> None:
        super().__init__(keys)
        self.keys = keys


def write(
    connection: Connection,
    updates: Sequence[Update],
    policy: Policy,
    moments: Iterator[datetime],
    replays: set[Key],
    version: int,
) -> list[Outcome]:
    """Write the updates in the given order and return an outcome for each, in that order.

    `version` is the board version created by this transaction, `moments` yields a server time per
    update, and `replays` are the keys known to be replays. Raises ReplayError if the database has
    more of the keys: the caller must then roll back.
    """
    states, hidden = _states(connection, {update.user_id for update in updates})
    plan = _Plan(states)
    errors: dict[int, ScoreboardError] = {}
    for index, update in enumerate(updates):
        try:
            if update.key in replays or update.key in plan.scores:
                raise Replayed(None)
            plan.add(update, policy, moments, version)
        except ScoreboardError as error:
            errors[index] = error
    _, insert_scores, upsert_standings = _statements(connection.dialect.name)
    inserted = _write_rows(connection, insert_scores, list(plan.scores.values()))
    ids: dict[Key, int] = {tuple(key): score_id for score_id, *key in inserted}
    if len(ids) < len(plan.scores):
        raise ReplayError(plan.scores.keys() - ids.keys())
    standings = [
        {"user_id": user, **state._asdict(), "score_id": ids[key], "hidden": user in hidden}
        for user, (state, key) in plan.changed.items()
    ]
    _write_rows(connection, upsert_standings, standings)
    _add_receipts(connection, updates, errors)
    return [
        errors.get(index) or _receipt(plan.scores[update.key], ids[update.key])
        for index, update in enumerate(updates)
    ]


class _Plan:
    """The rows of scores to insert by key, and the changed states by user with their update."""

    def __init__(self, states: dict[str, StandingState | None]) -> None:
        self.scores: dict[Key, dict[str, Any]] = {}
        self.changed: dict[str, tuple[StandingState, Key]] = {}
        self._states = states

    def add(
        self, update: Update, policy: Policy, moments: Iterator[datetime], version: int
    ) -> None:
        """Apply an update. Raises UnknownUser or ScoreOutOfRange, with nothing added."""
        if update.user_id not in self._states:
            raise UnknownUser
        before, now = self._states[update.user_id], next(moments)
        after = apply(policy, before, update.score_value, update.achieved_at, now)
        check_range(after)
        if after is not before:
            self._states[update.user_id] = after
            self.changed[update.user_id] = after, update.key
        self.scores[update.key] = {
            "user_id": update.user_id,
            "score_value": update.score_value,
            "created_at": now,
            "achieved_at": update.achieved_at,
            "identity": update.identity,
            "submitted_by": update.submitted_by,
            "sent_timestamp": update.sent_timestamp,
            "score": after.score,
            "applied": after is not before,
            "version": version,
        }


def _states(
    connection: Connection, user_ids: Collection[str]
) -> tuple[dict[str, StandingState | None], set[str]]:
    """Return the state of each existing user (None without a score), and the hidden users."""
    dialect = connection.dialect.name
    statement, _, _ = _statements(dialect)
    found = connection.execute(
        statement, {"user_ids": transactions.any_of(user_ids, dialect)}
    ).all()
    states = {
        user_id: StandingState(*state) if state[0] is not None else None
        for user_id, _, *state in found
    }
    return states, {user_id for user_id, hidden_at, *_ in found if hidden_at}


@functools.cache
def _statements(dialect: str) -> tuple[Executable, Executable, Executable]:
    """Return the statements that read states, insert new scores and upsert standings."""
    read = (
        select(User.user_id, User.hidden_at, *(getattr(Standing, name) for name in STATE_COLUMNS))
        .outerjoin(Standing, Standing.user_id == User.user_id)
        .where(transactions.is_any(User.user_id, "user_ids", dialect))
    )
    scores = _insert(Score, SCORE_COLUMNS, dialect)
    standings = _insert(Standing, STANDING_COLUMNS, dialect)
    return (
        read,
        scores.on_conflict_do_nothing(index_elements=_KEY).returning(Score.score_id, *_KEY),
        standings.on_conflict_do_update(
            index_elements=[Standing.user_id],
            set_={name: standings.excluded[name] for name in STANDING_COLUMNS[1:]},
        ),
    )


def _insert(table: type[Base], names: tuple[str, ...], dialect: str) -> Any:
    """Return an INSERT into these columns, for `_write_rows`."""
    insert = transactions.insert(table, dialect)
    if dialect == "sqlite":
        return insert
    columns = (column(name, table.__table__.c[name].type) for name in names)
    rows = cast(bindparam("rows", type_=Text()), JSON)
    given = func.json_to_recordset(rows).table_valued(*columns).render_derived(with_types=True)
    return insert.from_select(list(names), select(*given.c))


def _write_rows(connection: Connection, statement: Executable, rows: list[dict[str, Any]]) -> Any:
    if not rows:
        return ()
    is_sqlite = connection.dialect.name == "sqlite"
    return connection.execute(
        statement, rows if is_sqlite else {"rows": orjson.dumps(rows).decode()}
    )


def _add_receipts(
    connection: Connection, updates: Sequence[Update], errors: dict[int, ScoreboardError]
) -> None:
    """Add the receipt to each replay that is the same request by the same caller."""
    replays = [(updates[n], error) for n, error in errors.items() if isinstance(error, Replayed)]
    if not replays:
        return
    keys = [update.key for update, _ in replays]
    found = connection.execute(select(Score.__table__).where(tuple_(*_KEY).in_(keys))).mappings()
    rows = {(row["user_id"], row["submitted_by"], row["identity"]): row for row in found}
    for update, error in replays:
        row = rows[update.key]
        sent = update.score_value, update.sent_timestamp or update.achieved_at
        if sent == (row["score_value"], row["sent_timestamp"] or row["achieved_at"]):
            error.receipt = _receipt(row, row["score_id"]).body()


def _receipt(row: Any, score_id: int) -> Receipt:
    return Receipt(row["user_id"], row["score"], score_id, row["created_at"], row["applied"])
