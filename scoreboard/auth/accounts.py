"""User accounts in the database. Every function blocks for a query or transaction."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, select, update
from sqlalchemy.exc import IntegrityError

from ..db import transactions
from ..errors import Conflict, NotFound
from ..models import Flag, ResetLink, Standing, User
from ..services import services
from ..webhooks import outbox
from . import revocations, tokens
from .names import name_key

# The columns that boards show: a change of these is sent to the subscribers.
SHOWN = frozenset({"username", "hidden_at"})


class UserExists(Conflict):
    """There is, or was, a user with this id."""

    code = "username_taken"
    message = "This user has an account, or had one that was erased."


class Account(NamedTuple):
    """The account data of a user. A guest has neither an address nor a password."""

    user_id: str
    username: str
    email: str | None
    role: str
    created_at: datetime
    password_hash: str | None
    suspended_at: datetime | None = None
    hidden_at: datetime | None = None


# The columns of an Account, in the order of its fields.
COLUMNS = tuple(getattr(User, column) for column in Account._fields)
# Called with the transaction of a change, after the user is locked, and with its password hash.
Check = Callable[[Connection, str | None], None]
# Erased users have no name, and no account.
_ACCOUNTS = select(*COLUMNS).where(User.username.is_not(None))


def create(
    username: str,
    email: str | None,
    password_hash: str | None,
    role: str,
    user_id: str | None = None,
) -> Account:
    """Create a user, by default with a new id.

    Raises Conflict if the name or email address is taken, UserExists if the id is.
    """
    new_id = user_id or str(uuid.uuid4())
    account = Account(new_id, username, email, role, datetime.now(UTC), password_hash)

    def insert(connection: Connection) -> None:
        statement = transactions.insert(User, connection.dialect.name).on_conflict_do_nothing()
        row = {**account._asdict(), "name_key": name_key(username)}
        if not connection.execute(statement.returning(User.user_id), row).first():
            same = select(User.user_id).where(User.user_id == account.user_id)
            if connection.execute(same).first():
                raise UserExists
            raise _conflict(connection, account.user_id, row["name_key"])

    transactions.transaction(insert)
    return account


def change(
    user_id: str,
    *,
    ends_sessions: bool = False,
    kept: str | None = None,
    check: Check | None = None,
    **values: Any,
) -> Account:
    """Set these columns of a user at once, on all boards too; return the account.

    With `ends_sessions`, all sign-ins of the user but the one with the token id `kept` end. Does
    not check the values. Raises what `check` raises, with nothing changed, NotFound, and Conflict
    if the name or address is taken.
    """
    if "username" in values:
        values["name_key"] = name_key(values["username"])

    def write(connection: Connection) -> None:
        password_hash = _lock(connection, user_id)
        if check:
            check(connection, password_hash)
        _set(connection, user_id, values)
        if ends_sessions:
            revocations.revoke_user(connection, user_id, kept)

    _run(user_id, write, is_shown=not SHOWN.isdisjoint(values), key=values.get("name_key"))
    if ends_sessions:
        services().session_revoked(tokens.user_token_id(user_id), datetime.now(UTC), kept)
    account = by_id(user_id)
    if account is None:
        raise _unknown()
    return account


def erase(user_id: str) -> None:
    """Erase a user's name, address, password and flags, and end all sign-ins. Raises NotFound.

    The user leaves every board at once, and its id is unknown from then on. The scores stay in the
    history.
    """
    nothing = dict.fromkeys(("username", "name_key", "email", "password_hash"))

    def write(connection: Connection) -> None:
        _lock(connection, user_id)
        _set(connection, user_id, {**nothing, "hidden_at": datetime.now(UTC)})
        connection.execute(delete(Flag).where(Flag.user_id == user_id))
        # Tokens of the user are refused anyway; this closes connections in other processes.
        revocations.revoke_user(connection, user_id)

    _run(user_id, write, is_shown=True)
    services().session_revoked(tokens.user_token_id(user_id), datetime.now(UTC))


def _run(
    user_id: str, write: Callable[[Connection], None], is_shown: bool, key: str | None = None
) -> None:
    """Run a transaction that changes a user. Raises Conflict if the name or address is taken."""
    try:
        if is_shown:
            services().ledgers.change_user(user_id, write)
        else:
            transactions.transaction(write)
    except IntegrityError:
        raise transactions.read(lambda c: _conflict(c, user_id, key)) from None


def _lock(connection: Connection, user_id: str) -> str | None:
    """Lock the user until the end of the transaction; return its password hash. Raises NotFound."""
    user = select(User.password_hash).where(User.user_id == user_id, User.username.is_not(None))
    row = connection.execute(user.with_for_update()).first()
    if row is None:
        raise _unknown()
    return row.password_hash


def _set(connection: Connection, user_id: str, values: dict[str, Any]) -> None:
    """Set these columns, and whether the user's standings are hidden."""
    if values:
        connection.execute(update(User).where(User.user_id == user_id).values(values))
    if "hidden_at" in values:
        of_user = update(Standing).where(Standing.user_id == user_id)
        connection.execute(of_user.values(hidden=values["hidden_at"] is not None))
    if values.get("hidden_at"):
        outbox.remove_name(connection, user_id)
    if not {"email", "password_hash"}.isdisjoint(values):
        # A link sent to a former address, or requested by a thief, must not work any longer.
        connection.execute(delete(ResetLink).where(ResetLink.user_id == user_id))


def _conflict(connection: Connection, user_id: str, key: str | None) -> Conflict:
    """Return the error of a user whose name with this key, or else its address, is taken."""
    with_name = select(User.user_id).where(User.name_key == key, User.user_id != user_id)
    if connection.execute(with_name).first():
        return Conflict("This username is taken: choose another.", "username_taken")
    return Conflict("There is an account with this email address already.", "email_taken")


def _unknown() -> NotFound:
    return NotFound("There is no user with this user_id.", "unknown_user")


def by_name(username: str) -> Account | None:
    """Return the user with this name, compared by `name_key`, or None."""
    return _first(User.name_key == name_key(username))


def by_email(email: str) -> Account | None:
    """Return the user with this address, in lower case, or None."""
    return _first(User.email == email)


def by_id(user_id: str) -> Account | None:
    """Return the user with this id, or None. An erased user has no account."""
    return _first(User.user_id == user_id)


def _first(condition: Any) -> Account | None:
    row = transactions.read(lambda c: c.execute(_ACCOUNTS.where(condition)).first())
    return Account(*row) if row else None


def list_all() -> list[Account]:
    """Return all users, oldest first."""
    statement = _ACCOUNTS.order_by(User.created_at, User.user_id)
    return [Account(*row) for row in transactions.read(lambda c: c.execute(statement).all())]
