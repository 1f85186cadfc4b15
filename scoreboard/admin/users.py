"""Users as admins see them: search, and read one, with email address and flags.

Users are listed in the order of `name_key`, whose unique index has each page of all users. A search
by part of a name, role or status scans the table: a million users take a quarter of a second, on
SQLite in a thread.
"""

from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, func, select

from ..anomalies import flags
from ..auth import accounts
from ..auth.names import name_key
from ..db import transactions
from ..errors import NotFound
from ..leaderboard.service import cursor_serializer, open_cursor
from ..models import Flag, User
from . import schemas

_STATUS: dict[str, ColumnElement[bool]] = {
    "active": User.hidden_at.is_(None) & User.suspended_at.is_(None),
    "hidden": User.hidden_at.is_not(None),
    "suspended": User.suspended_at.is_not(None),
    "flagged": User.user_id.in_(select(Flag.user_id)),
}


class ListedUser(NamedTuple):
    """The account of a user and its newest flags."""

    account: accounts.Account
    flags: list[Any]


def page(query: dict[str, str]) -> dict[str, Any]:
    """Return a page of the `users` that match the query, by name, and the cursor `next`. Blocks.

    Raises InvalidInput.
    """
    loaded = schemas.users_query_schema.load(query)
    limit, after = loaded["limit"], open_cursor("users", loaded)
    conditions = _conditions(loaded)
    # Through an expression, since the index in order would read a million rows one by one: 4 s.
    key = func.coalesce(User.name_key, "") if conditions else User.name_key
    if after is not None:
        conditions.append(key > after)
    columns = (*accounts.COLUMNS, User.name_key)
    is_not_erased = User.name_key.is_not(None)
    statement = select(*columns).where(is_not_erased, *conditions).order_by(key).limit(limit + 1)

    def read(connection: Connection) -> tuple[list[ListedUser], str | None]:
        rows = connection.execute(statement).all()
        last = rows[limit - 1].name_key if len(rows) > limit else None
        found = [accounts.Account(*row[:-1]) for row in rows[:limit]]
        return _with_flags(connection, found), last

    users, last = transactions.long_read(read)
    cursor = None if last is None else cursor_serializer("users").dumps(last)
    return {"users": users, "next": cursor}


def _conditions(loaded: dict[str, Any]) -> list[ColumnElement[bool]]:
    """Return what the users must match."""
    conditions: list[ColumnElement[bool]] = []
    if text := loaded["query"].strip():
        # A text without visible characters has no key: names do not contain it.
        in_name = User.name_key.contains(name_key(text) or text, autoescape=True)
        conditions.append(in_name | User.email.contains(text.casefold(), autoescape=True))
    if "role" in loaded:
        conditions.append(User.role == loaded["role"])
    if "status" in loaded:
        conditions.append(_STATUS[loaded["status"]])
    return conditions


def find(user_id: str) -> ListedUser:
    """Return a user with its flags. Raises InvalidInput or NotFound. Blocks for a read."""
    valid_id = schemas.user_reference_schema.load({"user_id": user_id})["user_id"]
    account = accounts.by_id(valid_id)
    if account is None:
        raise NotFound("There is no user with this user_id.", "unknown_user")
    (user,) = transactions.read(lambda connection: _with_flags(connection, [account]))
    return user


def _with_flags(connection: Connection, found: list[accounts.Account]) -> list[ListedUser]:
    by_user = flags.of_users(connection, [account.user_id for account in found])
    return [ListedUser(account, by_user.get(account.user_id, [])) for account in found]
