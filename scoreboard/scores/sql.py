"""SQL statements that read and write many scores and standings at once, on SQLite and Postgres.

Statements are built once and cached: building one takes longer than executing it. Postgres gets
all rows as one JSON text in a constant statement: with a parameter per value, parsing the
statement costs several times as much as executing it.
"""

import functools
from collections.abc import Collection, Iterable
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
)

from ..db import transactions as database
from ..extensions import Base
from ..models import Score, Standing, User

SCORE = (
    *("user_id", "score_value", "created_at", "achieved_at", "identity", "submitted_by"),
    *("sent_timestamp", "score", "applied", "version"),
)
STANDING = ("user_id", "score", "remainder", "reached_at", "achieved_at", "score_id", "hidden")
UPDATED_COLUMNS = ("score", "remainder", "reached_at", "achieved_at", "score_id")
IDENTITY = (Score.user_id, Score.submitted_by, Score.identity)


def standings_of(connection: Connection, user_ids: Collection[str]) -> Iterable[Any]:
    """Return a row per existing user; the columns of the standing are None without a score."""
    statement = _standings(connection.dialect.name)
    return connection.execute(
        statement, {"user_ids": database.any_of(user_ids, connection.dialect.name)}
    )


def insert_scores(connection: Connection, rows: list[dict[str, Any]]) -> Iterable[Any]:
    """Insert the scores that are new; return score_id and IDENTITY of each inserted row."""
    return connection.execute(_new_scores(connection.dialect.name), _parameters(connection, rows))


def upsert_standings(connection: Connection, rows: list[dict[str, Any]]) -> None:
    """Insert or update the standings, one row per user."""
    connection.execute(_changed_standings(connection.dialect.name), _parameters(connection, rows))


@functools.cache
def _standings(dialect: str) -> Executable:
    standing = (Standing.score, Standing.reached_at, Standing.achieved_at, Standing.remainder)
    return (
        select(User.user_id, User.hidden_at, *standing)
        .outerjoin(Standing, Standing.user_id == User.user_id)
        .where(database.is_any(User.user_id, "user_ids", dialect))
    )


@functools.cache
def _new_scores(dialect: str) -> Executable:
    statement: Executable = (
        _insert(Score, SCORE, dialect)
        .on_conflict_do_nothing(index_elements=IDENTITY)
        .returning(Score.score_id, *IDENTITY)
    )
    return statement


@functools.cache
def _changed_standings(dialect: str) -> Executable:
    insert = _insert(Standing, STANDING, dialect)
    statement: Executable = insert.on_conflict_do_update(
        index_elements=[Standing.user_id],
        set_={name: insert.excluded[name] for name in UPDATED_COLUMNS},
    )
    return statement


def _insert(table: type[Base], names: tuple[str, ...], dialect: str) -> Any:
    """Return an INSERT into these columns; `_parameters` makes its parameters from rows."""
    insert = database.insert(table, dialect)
    if dialect == "sqlite":
        return insert
    columns = (column(name, table.__table__.c[name].type) for name in names)
    rows = cast(bindparam("rows", type_=Text()), JSON)
    given = func.json_to_recordset(rows).table_valued(*columns).render_derived(with_types=True)
    return insert.from_select(list(names), select(*given.c))


def _parameters(connection: Connection, rows: list[dict[str, Any]]) -> Any:
    if connection.dialect.name == "sqlite":
        return rows
    return {"rows": orjson.dumps(rows).decode()}
