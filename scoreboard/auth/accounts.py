"""User accounts in the database. Every function blocks for a query or transaction."""

import uuid
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, select

from ..db import transactions
from ..errors import Conflict
from ..models import User
from .names import name_key


class Account(NamedTuple):
    """The account data of a user."""

    user_id: str
    username: str
    email: str
    role: str
    created_at: datetime
    password_hash: str | None
    suspended_at: datetime | None = None
    hidden_at: datetime | None = None


# The columns of an Account, in the order of its fields.
COLUMNS = tuple(getattr(User, column) for column in Account._fields)
_ACCOUNTS = select(*COLUMNS)


def create(username: str, email: str, password_hash: str | None, role: str) -> Account:
    """Create a user. Raises Conflict if the name or email address is taken."""
    account = Account(str(uuid.uuid4()), username, email, role, datetime.now(UTC), password_hash)

    def insert(connection: Connection) -> None:
        statement = transactions.insert(User, connection.dialect.name).on_conflict_do_nothing()
        row = {**account._asdict(), "name_key": name_key(username)}
        if connection.execute(statement.returning(User.user_id), row).first():
            return
        with_name = select(User.user_id).where(User.name_key == row["name_key"])
        if connection.execute(with_name).first():
            raise Conflict("This username is taken: choose another.", "username_taken")
        raise Conflict("There is an account with this email address already.", "email_taken")

    transactions.transaction(insert)
    return account


def by_name(username: str) -> Account | None:
    """Return the user with this name, compared by `name_key`, or None."""
    return _first(User.name_key == name_key(username))


def by_id(user_id: str) -> Account | None:
    """Return the user with this id, or None."""
    return _first(User.user_id == user_id)


def _first(condition: Any) -> Account | None:
    row = transactions.read(lambda c: c.execute(_ACCOUNTS.where(condition)).first())
    return Account(*row) if row else None


def list_all() -> list[Account]:
    """Return all users, oldest first."""
    statement = _ACCOUNTS.order_by(User.created_at, User.user_id)
    return [Account(*row) for row in transactions.read(lambda c: c.execute(statement).all())]
