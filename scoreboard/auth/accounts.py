"""User accounts in the database: create, find and list them, and set roles.

Every function blocks for a query or transaction.
"""

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, select, update

from ..db import transactions as database
from ..errors import Conflict
from ..models import User
from .names import name_key


@dataclass(frozen=True)
class Account:
    """The account data of a user."""

    user_id: str
    username: str
    email: str
    role: str
    created_at: datetime
    password_hash: str | None
    suspended_at: datetime | None
    hidden_at: datetime | None = None


_ACCOUNT = select(
    User.user_id,
    User.username,
    User.email,
    User.role,
    User.created_at,
    User.password_hash,
    User.suspended_at,
    User.hidden_at,
)


def create(username: str, email: str, password_hash: str | None, role: str) -> Account:
    """Create a user. Raises Conflict if the name or email address is taken."""
    account = Account(
        str(uuid.uuid4()), username, email, role, datetime.now(UTC), password_hash, None
    )

    def insert(connection: Connection) -> None:
        statement = (
            database.insert(User, connection.dialect.name)
            .on_conflict_do_nothing()
            .returning(User.user_id)
        )
        row = {**vars(account), "name_key": name_key(username)}
        if connection.execute(statement, row).one_or_none() is None:
            raise _taken(connection, username)

    database.transaction(insert)
    return account


def _taken(connection: Connection, username: str) -> Conflict:
    by_name = select(User.user_id).where(User.name_key == name_key(username))
    if connection.execute(by_name).one_or_none():
        return Conflict("This username is taken: choose another.", "username_taken")
    return Conflict("There is an account with this email address already.", "email_taken")


def by_name(username: str) -> Account | None:
    """Return the user with this name, ignoring case as `name_key` does, or None."""
    return _one(User.name_key == name_key(username))


def by_id(user_id: str) -> Account | None:
    """Return the user with this id, or None."""
    return _one(User.user_id == user_id)


def _one(condition: Any) -> Account | None:
    row = database.read(lambda connection: connection.execute(_ACCOUNT.where(condition)).first())
    return Account(*row) if row else None


def everyone() -> list[Account]:
    """Return all users, oldest first."""
    statement = _ACCOUNT.order_by(User.created_at, User.user_id)
    return [Account(*row) for row in database.read(lambda c: c.execute(statement).all())]


def set_role(user_id: str, role: str) -> None:
    """Set the user's role, effective from the next request. Does nothing for an unknown id."""
    statement = update(User).where(User.user_id == user_id).values(role=role)
    database.transaction(lambda connection: connection.execute(statement))
