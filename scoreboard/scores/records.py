"""The work of one ledger transaction: read standings, apply updates, write scores and standings."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select, tuple_

from ..errors import Replayed, ScoreboardError, ScoreOutOfRange, UnknownUser
from ..http.fields import moment, number
from ..models import Score
from . import sql as statements
from .policy import Policy, Present, after

Key = tuple[str, str, str]  # user_id, submitted_by, identity: accepted once


@dataclass(frozen=True)
class Update:
    """A validated, authorized request to update a score.

    `achieved_at` is never later than the arrival. `sent_timestamp` is the request's timestamp if
    that was ahead of the server's clock, else None.
    """

    user_id: str
    score_value: float
    achieved_at: datetime
    identity: str
    submitted_by: str
    sent_timestamp: datetime | None = None

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


@dataclass
class _Plan:
    """The rows and standings to write, and the refused updates by index.

    `set_by` maps a user to the key of the update that set the standing.
    """

    rows: dict[Key, dict[str, Any]]
    standings: dict[str, Present]
    set_by: dict[str, Key]
    errors: dict[int, ScoreboardError]
    replays: dict[int, Update]


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
    standings, hidden = _standings(connection, {update.user_id for update in updates})
    plan = _fold(updates, standings, policy, moments, replays)
    ids = _insert_scores(connection, plan.rows, version)
    if len(ids) < len(plan.rows):
        raise ReplayError(plan.rows.keys() - ids.keys())
    _upsert_standings(connection, plan, ids, hidden)
    receipts = _receipts_of_replays(connection, plan.replays.values())
    return [
        plan.errors.get(place)
        or (
            Replayed(receipts.get(update))
            if place in plan.replays
            else _receipt(plan.rows[update.key], ids[update.key])
        )
        for place, update in enumerate(updates)
    ]


def _standings(
    connection: Connection, user_ids: set[str]
) -> tuple[dict[str, Present | None], set[str]]:
    """Return each existing user's standing (None without a score), and the hidden users."""
    standings: dict[str, Present | None] = {}
    hidden = set()
    for user_id, hidden_at, *standing in statements.standings_of(connection, user_ids):
        standings[user_id] = Present(*standing) if standing[0] is not None else None
        if hidden_at:
            hidden.add(user_id)
    return standings, hidden


def _fold(
    updates: Sequence[Update],
    standings: dict[str, Present | None],
    policy: Policy,
    moments: Iterator[datetime],
    replays: set[Key],
) -> _Plan:
    """Apply the updates one by one, starting from the standings, and return the plan."""
    plan = _Plan({}, {user: now for user, now in standings.items() if now}, {}, {}, {})
    for place, update in enumerate(updates):
        if update.key in replays or update.key in plan.rows:
            plan.replays[place] = update
        elif update.user_id not in standings:
            plan.errors[place] = UnknownUser()
        else:
            try:
                _apply(plan, update, policy, next(moments))
            except ScoreOutOfRange as error:
                plan.errors[place] = error
    return plan


def _apply(plan: _Plan, update: Update, policy: Policy, now: datetime) -> None:
    """Add the update to the plan, or raise ScoreOutOfRange and add nothing."""
    before = plan.standings.get(update.user_id)
    present = after(policy, before, update.score_value, update.achieved_at, now)
    if present:
        plan.standings[update.user_id] = present
        plan.set_by[update.user_id] = update.key
    plan.rows[update.key] = {
        "user_id": update.user_id,
        "score_value": update.score_value,
        "created_at": now,
        "achieved_at": update.achieved_at,
        "identity": update.identity,
        "submitted_by": update.submitted_by,
        "sent_timestamp": update.sent_timestamp,
        "score": plan.standings[update.user_id].score,
        "applied": present is not None,
    }


def _insert_scores(
    connection: Connection, rows: dict[Key, dict[str, Any]], version: int
) -> dict[Key, int]:
    """Insert the rows whose key is new; return the score_id of each inserted row."""
    if not rows:
        return {}
    versioned = [{**row, "version": version} for row in rows.values()]
    inserted = statements.insert_scores(connection, versioned)
    return {tuple(key): score_id for score_id, *key in inserted}


def _upsert_standings(
    connection: Connection, plan: _Plan, ids: dict[Key, int], hidden: set[str]
) -> None:
    rows = [
        {
            "user_id": user_id,
            **plan.standings[user_id]._asdict(),
            "score_id": ids[key],
            "hidden": user_id in hidden,
        }
        for user_id, key in plan.set_by.items()
    ]
    if rows:
        statements.upsert_standings(connection, rows)


def _receipts_of_replays(
    connection: Connection, replays: Iterable[Update]
) -> dict[Update, dict[str, Any]]:
    """Return the receipt of each replay that is the same request by the same caller."""
    by_key: dict[Key, list[Update]] = {}
    for update in replays:
        by_key.setdefault(update.key, []).append(update)
    if not by_key:
        return {}
    key = tuple_(Score.user_id, Score.submitted_by, Score.identity)
    rows = connection.execute(select(Score.__table__).where(key.in_(list(by_key)))).mappings()
    return {
        update: _receipt(row, row["score_id"]).body()
        for row in rows
        for update in by_key[row["user_id"], row["submitted_by"], row["identity"]]
        if (update.score_value, update.sent_timestamp or update.achieved_at)
        == (row["score_value"], row["sent_timestamp"] or row["achieved_at"])
    }


def _receipt(row: Any, score_id: int) -> Receipt:
    return Receipt(row["user_id"], row["score"], score_id, row["created_at"], row["applied"])
