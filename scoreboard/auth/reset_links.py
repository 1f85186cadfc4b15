"""Links that set a password once. Every function blocks for a query or transaction.

Only a hash of a link's token is stored: a copy of the database opens no account.
"""

import hashlib
import secrets
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, delete, select, update

from ..db import transactions
from ..errors import InvalidInput
from ..models import ResetLink, User
from ..services import services
from . import revocations, tokens

LIFETIME = timedelta(hours=24)
TOKEN_BYTES = 32
MAX_TOKEN_LENGTH = 64


class NewLink(NamedTuple):
    """The token of a link, and when it expires."""

    token: str
    expires_at: datetime

    def url(self, base_url: str) -> str:
        """Return the link. The token follows `#`: browsers send that part to no server."""
        return f"{base_url.rstrip('/')}/#reset={self.token}"


def create(user_id: str, token: str | None = None) -> NewLink:
    """Return a new link for a user, who must exist; it voids the one before.

    `token` is random if left out. Else it must be as hard to guess.
    """
    token = token or secrets.token_urlsafe(TOKEN_BYTES)
    link = NewLink(token, datetime.now(UTC) + LIFETIME)
    values = {"token_hash": _hash(link.token), "expires_at": link.expires_at}

    def insert(connection: Connection) -> None:
        statement = transactions.insert(ResetLink, connection.dialect.name)
        upsert = statement.on_conflict_do_update(index_elements=[ResetLink.user_id], set_=values)
        connection.execute(upsert, {"user_id": user_id, **values})

    transactions.transaction(insert)
    return link


def user_of(token: str) -> str:
    """Return the user of a valid link. Raises InvalidInput for any other token."""
    statement = select(ResetLink.user_id).where(*_valid(token))
    user_id = transactions.read(lambda connection: connection.execute(statement).scalar())
    if user_id is None:
        raise _invalid()
    return user_id


def redeem(token: str, password_hash: str) -> None:
    """Use up a link: set its user's password and end all sign-ins of the user.

    Raises InvalidInput if the link is not valid, with nothing changed.
    """

    def write(connection: Connection) -> str:
        used = delete(ResetLink).where(*_valid(token)).returning(ResetLink.user_id)
        user_id: str | None = connection.execute(used).scalar()
        if user_id is None:
            raise _invalid()
        of_user = update(User).where(User.user_id == user_id, User.username.is_not(None))
        connection.execute(of_user.values(password_hash=password_hash))
        revocations.revoke_user(connection, user_id)
        return user_id

    user_id = transactions.transaction(write)
    services().session_revoked(tokens.user_token_id(user_id), datetime.now(UTC))


def _valid(token: str) -> tuple[ColumnElement[bool], ...]:
    return ResetLink.token_hash == _hash(token), ResetLink.expires_at > datetime.now(UTC)


def _hash(token: str) -> str:
    # Tokens are random, so a fast hash without a salt is enough.
    return hashlib.sha256(token.encode()).hexdigest()


def _invalid() -> InvalidInput:
    message = "This link was used or has expired: ask for a new one."
    return InvalidInput(message, {}, "reset_link_invalid")
