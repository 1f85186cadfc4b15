"""Read the history from the database and compute standings and boards, without server code.

The checker compares the server with this independent implementation of the documented rules: how a
policy applies updates in commit order, and who is in the top 10.
"""

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import psycopg

TOP = 10
COLUMNS = (
    "score_id, user_id, score_value, created_at, achieved_at, identity, submitted_by, score, "
    "applied, version"
)
# Scores of seeded players have no version and were never pushed.
ROWS = f"SELECT {COLUMNS} FROM scores WHERE version IS NOT NULL ORDER BY version, created_at"
STANDINGS = "SELECT user_id, score, reached_at, achieved_at, score_id, remainder FROM standings"
MAX_SCORE = 2**53 - 1


@dataclass(frozen=True)
class Row:
    """One accepted update: a row of the `scores` table."""

    score_id: int
    user_id: str
    score_value: float
    created_at: datetime
    achieved_at: datetime
    identity: str
    submitted_by: str
    score: float
    applied: bool
    version: int


@dataclass(frozen=True)
class Standing:
    """A user's standing. `exact` is the exact decimal score, `score` the double that shows it."""

    score: float
    reached_at: datetime
    achieved_at: datetime
    score_id: int
    exact: Decimal


@dataclass(frozen=True)
class History:
    """All accepted updates in commit order, and the standing of each user."""

    rows: list[Row]
    standings: dict[str, Standing]


def read(database: str) -> History:
    """Return the history in the database at this URL, `sqlite:///...` or `postgresql://...`."""
    rows = [Row(*map(_whole, row)) for row in _query(database, ROWS)]
    rows = [_with_truth(row) for row in rows]
    found = _query(database, STANDINGS)
    return History(rows, {user: _standing(*map(_whole, rest)) for user, *rest in found})


def _standing(score: float, *rest: Any) -> Standing:
    *others, billionths = rest
    return Standing(score, *others, exact=_decimal(score) + Decimal(billionths).scaleb(-9))


def _query(database: str, statement: str) -> list[tuple[Any, ...]]:
    if database.startswith("sqlite"):
        path = database.removeprefix("sqlite:///")
        with contextlib.closing(sqlite3.connect(path, timeout=30)) as connection:
            return connection.execute(statement).fetchall()
    with psycopg.connect(database) as connection:
        return connection.execute(statement).fetchall()


def _whole(value: Any) -> Any:
    """Return a timestamp as a datetime in UTC, other values unchanged: SQLite stores text."""
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    if isinstance(value, str) and len(value) == 26 and value[10] == " ":
        return datetime.fromisoformat(value).replace(tzinfo=UTC)
    return value


def _with_truth(row: Row) -> Row:
    return Row(**{**vars(row), "applied": bool(row.applied)})


def _decimal(score: float) -> Decimal:
    return Decimal(repr(score))


def _shown(exact: Decimal) -> float:
    """Return the double that the server shows for an exact total."""
    if abs(exact) > MAX_SCORE:
        return float((MAX_SCORE + 1) * (1 if exact > 0 else -1))
    return float(exact)


def after(policy: str, present: Standing | None, row: Row) -> Standing | None:
    """Return a user's standing after one more update, or None if the update is not applied."""
    value = _decimal(row.score_value)
    if present is None:
        return Standing(row.score_value, row.created_at, row.achieved_at, row.score_id, value)
    if policy == "latest" and row.achieved_at < present.achieved_at:
        return None
    if policy == "best" and row.score_value <= present.score:
        return None
    exact = present.exact + value if policy == "total" else value
    score = _shown(exact)
    reached_at = present.reached_at if score == present.score else row.created_at
    return Standing(score, reached_at, row.achieved_at, row.score_id, exact)


def fold(rows: list[Row], policy: str) -> Iterator[tuple[Row, bool, dict[str, Standing]]]:
    """Yield each update, whether it is applied, and all standings after it (one shared dict)."""
    standings: dict[str, Standing] = {}
    for row in rows:
        changed = after(policy, standings.get(row.user_id), row)
        if changed:
            standings[row.user_id] = changed
        yield row, changed is not None, standings


def board(standings: dict[str, Standing]) -> list[dict[str, Any]]:
    """Return the top 10: best score first, ties by who reached it first, then by user id."""
    order = sorted(
        standings.items(), key=lambda each: (-each[1].score, each[1].reached_at, each[0])
    )
    return [{"user_id": user, "score": standing.score} for user, standing in order[:TOP]]


def boards(rows: list[Row], policy: str) -> list[list[dict[str, Any]]]:
    """Return the top 10 before the first update and after each update."""
    return [[], *(board(standings) for _, _, standings in fold(rows, policy))]
