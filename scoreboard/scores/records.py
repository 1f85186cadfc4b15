"""The work of a ledger transaction: detect replays, apply updates, write scores and standings."""

import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple

import orjson
from sqlalchemy import (
    Connection,
    select,
    tuple_,
)

from ..boards.board import BoardState
from ..db import transactions
from ..errors import (
    BoardClosed,
    InvalidInput,
    NotPermitted,
    Replayed,
    ScoreboardError,
    ScoreOutOfRange,
    SeasonOver,
    TicketRefused,
    UnknownUser,
)
from ..http.fields import moment, number
from ..leaderboard.top10 import NewScore
from ..models import Score
from . import policy, sql, tickets
from .policy import StandingState, apply, check_range
from .tickets import Ticket

PLAYERS_MAY_NOT = "Only a scorer or an admin may update this board."

Key = tuple[str, str, str]  # user_id, submitted_by, identity: accepted once by a ledger


@dataclass(frozen=True)
class Update:
    """A validated, authorized request to update a score.

    `achieved_at` is never later than the arrival. `sent_timestamp` is the request's timestamp if
    that was ahead of the server's clock, else None. `received` is the time of arrival in seconds
    of time.perf_counter. A score entered by hand counts from its commit on; with `is_change`, its
    value is added to the current score.
    """

    user_id: str
    score_value: float
    achieved_at: datetime
    identity: str
    submitted_by: str
    sent_timestamp: datetime | None = None
    received: float = field(default_factory=time.perf_counter, compare=False)
    names_board: bool = False
    season: int | None = None
    by_player: bool = False
    by_hand: bool = False
    is_change: bool = False
    ticket: Ticket | None = None

    @property
    def key(self) -> Key:
        """Return the key that identifies this request."""
        return self.user_id, self.submitted_by, self.identity


@dataclass(frozen=True)
class Receipt:
    """The result of an accepted update. `score` is the user's score after it.

    `board` is None unless the update names its board.
    """

    user_id: str
    score: float
    score_id: int
    created_at: datetime
    applied: bool
    board: str | None = None
    season: int = 1

    def body(self) -> dict[str, Any]:
        """Return the receipt as the body of the 200 response."""
        body = {
            "user_id": self.user_id,
            "score": number(self.score),
            "score_id": self.score_id,
            "created_at": moment(self.created_at),
            "applied": self.applied,
        }
        return {**body, "board": self.board, "season": self.season} if self.board else body


Outcome = Receipt | ScoreboardError


class Written(NamedTuple):
    """What a transaction has written.

    `outcomes` are in the order of the updates. `scores` has, by board, the scores after the updates
    that count there, in order, without those of hidden users and of frozen boards; `changed` the
    ids of the boards whose standings changed.
    """

    outcomes: list[Outcome]
    scores: dict[str, list[NewScore]]
    changed: set[str]


@dataclass
class Found:
    """What is known to be in the database: the keys of replays, and the ids of used tickets."""

    keys: set[Key] = field(default_factory=set)
    tickets: set[str] = field(default_factory=set)


class FoundError(Exception):
    """The database has some of what was to be inserted: repeat the transaction with `found`."""

    def __init__(self, found: Found) -> None:
        super().__init__(found)
        self.found = found


def write(
    connection: Connection,
    updates: Sequence[Update],
    boards: Sequence[BoardState],
    moments: Iterator[datetime],
    found: Found,
    version: int,
) -> Written:
    """Write the updates in the given order; each also counts on the derived boards.

    `boards` are the ledger and its derived boards, `version` is the version of the ledger created
    by this transaction, `moments` yields a server time per update, and `found` is what earlier
    attempts have found. Raises FoundError if the database has more of the keys or tickets: the
    caller must then roll back.
    """
    users = _users(connection, boards, {update.user_id for update in updates})
    plan = _Plan(boards, users, version, found.tickets)
    errors: dict[int, ScoreboardError] = {}
    for index, update in enumerate(updates):
        try:
            if update.key in found.keys or update.key in plan.scores:
                raise Replayed(None)
            plan.add(update, moments)
        except ScoreboardError as error:
            errors[index] = error
    insert_scores, upsert_standings = sql.statements(connection.dialect.name)
    inserted = sql.write_rows(connection, insert_scores, list(plan.scores.values()))
    ids: dict[Key, int] = {tuple(key): score_id for score_id, *key in inserted}
    if len(ids) < len(plan.scores):
        raise FoundError(Found(keys=plan.scores.keys() - ids.keys()))
    if used := tickets.use(connection, plan.tickets.values()):
        raise FoundError(Found(tickets=used))
    sql.write_rows(connection, upsert_standings, plan.standings(ids))
    _find_replays(connection, boards[0].board_id, updates, errors)
    outcomes = [
        errors.get(index) or _receipt(plan.scores[update.key], ids[update.key], update)
        for index, update in enumerate(updates)
    ]
    return Written(outcomes, plan.new_scores, {board_id for board_id, _ in plan.changed})


@dataclass
class _User:
    """A user of this transaction, with its state on each board; None without a score there."""

    username: str
    hidden: bool
    states: dict[str, StandingState | None]


class _Plan:
    """The rows to write: scores by key, the changed states by board and user, used tickets."""

    def __init__(
        self,
        boards: Sequence[BoardState],
        users: dict[str, _User],
        version: int,
        used_tickets: set[str],
    ) -> None:
        self.scores: dict[Key, dict[str, Any]] = {}
        self.changed: dict[tuple[str, str], tuple[StandingState, Key]] = {}
        self.new_scores: dict[str, list[NewScore]] = {board.board_id: [] for board in boards}
        self.tickets: dict[str, Ticket] = {}  # by id
        self._boards = {board.board_id: board for board in boards}
        self._ledger = boards[0]
        self._derived = [board for board in boards[1:] if board.state == "open"]
        self._rules = {board.board_id: policy.policy_of(board) for board in boards}
        self._users = users
        self._version = version
        self._used_tickets = used_tickets

    def add(self, update: Update, moments: Iterator[datetime]) -> None:
        """Apply an update. Raises a ScoreboardError, with nothing added."""
        user = self._users.get(update.user_id)
        if user is None:
            raise UnknownUser
        state = user.states[self._ledger.board_id]
        if update.is_change:
            value = policy.value_of_change(self._ledger, state, update.score_value)
            update = replace(update, score_value=value)
        self._check(update)
        now = next(moments)
        if update.by_hand:
            update = replace(update, achieved_at=policy.latest_time(state, now))
        after, applied = self._apply(self._ledger, user, update, now)
        derived = {}
        for board in self._derived:
            if policy.counts(board, update.score_value):
                try:
                    state, _ = self._apply(board, user, update, now)
                except ScoreOutOfRange:
                    continue
                derived[board.board_id] = board.season, number(state.score)
        if self._needs_ticket(update) and update.ticket:
            self.tickets[update.ticket.ticket_id] = update.ticket
        self.scores[update.key] = {
            "board_id": self._ledger.board_id,
            "season": self._ledger.season,
            "user_id": update.user_id,
            "score_value": update.score_value,
            "created_at": now,
            "achieved_at": update.achieved_at,
            "identity": update.identity,
            "submitted_by": update.submitted_by,
            "sent_timestamp": update.sent_timestamp,
            "score": after.score,
            "applied": applied,
            "version": self._version,
            "derived": orjson.dumps(derived).decode() if derived else None,
        }

    def _check(self, update: Update) -> None:
        """Raise a ScoreboardError unless the ledger accepts the update in its current state.

        The submission has checked most of this before, by a state that may be a second old.
        """
        policy.check_value(self._ledger, update.score_value)
        if update.by_player and self._ledger.submit == "scorer":
            raise NotPermitted(PLAYERS_MAY_NOT)
        if self._ledger.state != "open":
            raise BoardClosed
        current = self._ledger.season
        if update.season is not None and update.season > current:
            problem = {"season": [f"Must be at most {current}."]}
            raise InvalidInput("This board has not had that season yet.", problem)
        if update.season is not None and update.season < current:
            raise SeasonOver
        if self._needs_ticket(update):
            used = self._used_tickets | self.tickets.keys()
            tickets.check(update.ticket, update.user_id, self._ledger, used)

    def _needs_ticket(self, update: Update) -> bool:
        return update.by_player and self._ledger.tickets is not None

    def _apply(
        self, board: BoardState, user: _User, update: Update, now: datetime
    ) -> tuple[StandingState, bool]:
        """Apply the update on one board; return the state and whether the update has changed it.

        Raises ScoreOutOfRange, with nothing changed.
        """
        board_id = board.board_id
        before = user.states[board_id]
        rule = self._rules[board_id]
        after = apply(rule, before, update.score_value, update.achieved_at, now)
        if after is not before:
            check_range(after)
            user.states[board_id] = after
            self.changed[board_id, update.user_id] = after, update.key
        if not user.hidden and not board.frozen:
            new = NewScore(board.season, update.user_id, user.username, after.score)
            self.new_scores[board_id].append(new)
        return after, after is not before

    def standings(self, score_ids: dict[Key, int]) -> list[dict[str, Any]]:
        """Return the rows of the changed standings."""
        rows = []
        for (board_id, user_id), (state, key) in self.changed.items():
            board = self._boards[board_id]
            rows.append(
                {
                    "user_id": user_id,
                    "board_id": board_id,
                    "season": board.season,
                    "rank_key": board.sign * state.score,
                    "reached_at": state.reached_at,
                    "achieved_at": state.achieved_at,
                    "remainder": state.remainder,
                    "score_id": score_ids[key],
                    "hidden": self._users[user_id].hidden,
                }
            )
        return rows


def _users(
    connection: Connection, boards: Sequence[BoardState], user_ids: Collection[str]
) -> dict[str, _User]:
    """Return the existing users by id, with their states on these boards."""
    dialect = connection.dialect.name
    parameters = {"user_ids": transactions.any_of(user_ids, dialect)}
    for index, board in enumerate(boards):
        parameters |= {f"board_{index}": board.board_id, f"season_{index}": board.season}
    nowhere = dict.fromkeys(board.board_id for board in boards)
    states: defaultdict[str, dict[str, StandingState | None]] = defaultdict(lambda: {**nowhere})
    users: dict[str, _User] = {}
    rows = connection.execute(sql.users_and_states(len(boards), dialect), parameters)
    for index, user_id, *state, username, hidden in rows:
        if username is not None:
            users[user_id] = _User(username, hidden, states[user_id])
        if state[0] is not None:
            states[user_id][boards[index].board_id] = _state(boards[index], state)
    return users


def _state(board: BoardState, columns: Sequence[Any]) -> StandingState:
    rank_key, *others = columns
    return StandingState(board.sign * rank_key, *others)


def _find_replays(
    connection: Connection,
    ledger_id: str,
    updates: Sequence[Update],
    errors: dict[int, ScoreboardError],
) -> None:
    """Add the receipt to each replay that is the same request by the same caller.

    An update that arrives after the end of its board or season, or with a ticket that is used or
    has expired, may have been accepted before that: it is a replay then.
    """
    kinds = (Replayed, BoardClosed, SeasonOver, TicketRefused)
    suspects = [(n, updates[n]) for n, error in errors.items() if isinstance(error, kinds)]
    if not suspects:
        return
    keys = [update.key for _, update in suspects]
    statement = select(Score.__table__).where(
        tuple_(*sql.KEY).in_(keys), Score.board_id == ledger_id
    )
    found = connection.execute(statement).mappings()
    rows = {(row["user_id"], row["submitted_by"], row["identity"]): row for row in found}
    for index, update in suspects:
        row = rows.get(update.key)
        if row is None:
            continue
        errors[index] = replayed = Replayed(None)
        sent = update.score_value, update.sent_timestamp or update.achieved_at
        if sent == (row["score_value"], row["sent_timestamp"] or row["achieved_at"]):
            replayed.receipt = _receipt(row, row["score_id"], update).body()


def _receipt(row: Any, score_id: int, update: Update) -> Receipt:
    board = row["board_id"] if update.names_board else None
    values = row["user_id"], row["score"], score_id, row["created_at"], row["applied"]
    return Receipt(*values, board, row["season"])
