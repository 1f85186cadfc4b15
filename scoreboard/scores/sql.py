"""The statements of a ledger transaction.

They are cached: building one takes longer than executing it. Postgres gets all rows as one JSON
text: parsing a parameter per value would cost several times as much as the execution.
"""

import functools
from typing import Any

import orjson
from sqlalchemy import (
    JSON,
    ColumnElement,
    Connection,
    Executable,
    Text,
    and_,
    bindparam,
    cast,
    column,
    false,
    func,
    literal_column,
    null,
    select,
    union_all,
)

from ..db import transactions
from ..extensions import Base
from ..models import Score, Standing, User

SCORE_COLUMNS = (
    *("board_id", "season", "user_id", "score_value", "created_at", "achieved_at", "identity"),
    *("submitted_by", "sent_timestamp", "score", "applied", "version", "derived"),
)
STATE_COLUMNS = ("rank_key", "reached_at", "achieved_at", "remainder")
STANDING_KEY = ("user_id", "board_id", "season")
STANDING_COLUMNS = (*STANDING_KEY, *STATE_COLUMNS, "score_id", "hidden")
KEY = (Score.user_id, Score.submitted_by, Score.identity)


@functools.cache
def users_and_states(boards: int, dialect: str) -> Executable:
    """Return the statement that reads users and their states on this number of boards.

    A row has the index of a board and a user's state there. Those of the first board have all users
    with their names, even without a state. An erased user has no name, so it is not found.
    """
    columns = [getattr(Standing, name) for name in STATE_COLUMNS]
    of_users = transactions.is_any(Standing.user_id, "user_ids", dialect)

    def on_board(index: int) -> ColumnElement[bool]:
        return and_(
            Standing.board_id == bindparam(f"board_{index}"),
            Standing.season == bindparam(f"season_{index}"),
        )

    of_user = Standing.user_id == User.user_id
    if dialect == "postgresql":
        # Without statistics of a new season, Postgres would rather scan the table for the join.
        of_user = and_(of_user, of_users)
    users = (
        select(
            *(literal_column("0"), User.user_id, *columns),
            *(User.username, User.hidden_at.is_not(None)),
        )
        .outerjoin(Standing, and_(of_user, on_board(0)))
        .where(transactions.is_any(User.user_id, "user_ids", dialect))
    )
    others = (
        select(literal_column(str(index)), Standing.user_id, *columns, null(), false()).where(
            of_users, on_board(index)
        )
        for index in range(1, boards)
    )
    return union_all(users, *others) if boards > 1 else users


@functools.cache
def statements(dialect: str) -> tuple[Executable, Executable]:
    """Return the statements that insert scores and upsert standings."""
    scores = _insert(Score, SCORE_COLUMNS, dialect)
    standings = _insert(Standing, STANDING_COLUMNS, dialect)
    updated = {name: standings.excluded[name] for name in STANDING_COLUMNS[len(STANDING_KEY) :]}
    return (
        scores.on_conflict_do_nothing(index_elements=[*KEY, Score.board_id]).returning(
            Score.score_id, *KEY
        ),
        standings.on_conflict_do_update(index_elements=list(STANDING_KEY), set_=updated),
    )


def _insert(table: type[Base], names: tuple[str, ...], dialect: str) -> Any:
    """Return an INSERT into these columns, for `write_rows`."""
    insert = transactions.insert(table, dialect)
    if dialect == "sqlite":
        return insert
    columns = (column(name, table.__table__.c[name].type) for name in names)
    rows = cast(bindparam("rows", type_=Text()), JSON)
    given = func.json_to_recordset(rows).table_valued(*columns).render_derived(with_types=True)
    return insert.from_select(list(names), select(*given.c))


def write_rows(connection: Connection, statement: Executable, rows: list[dict[str, Any]]) -> Any:
    """Execute one of `statements` with these rows; return its result, () without rows."""
    if not rows:
        return ()
    is_sqlite = connection.dialect.name == "sqlite"
    return connection.execute(
        statement, rows if is_sqlite else {"rows": orjson.dumps(rows).decode()}
    )
