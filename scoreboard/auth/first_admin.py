"""The first admin: an account without a password, and the link that sets one."""

import base64
import hashlib
import hmac
import secrets
import uuid
from datetime import UTC, datetime
from typing import NamedTuple

from flask import current_app
from sqlalchemy import Connection, and_, not_, select

from ..db import transactions
from ..http.request import ClientInfo
from ..models import User
from ..observability import audit
from . import reset_links
from .names import name_key

NAME = "Organizer"
# The same in every installation, so that the database decides that there is one such account.
USER_ID = str(uuid.uuid5(uuid.NAMESPACE_URL, "scoreboard:first-admin"))
_IS_UNCLAIMED = and_(
    User.user_id == USER_ID,
    User.role == "admin",
    User.username.is_not(None),
    User.password_hash.is_(None),
    User.suspended_at.is_(None),
)


class Invitation(NamedTuple):
    """The name of the first admin's account, and the token of the link that sets its password."""

    name: str
    token: str


def invite() -> Invitation | None:
    """Return how to become the first admin, or None if there is an admin. Blocks.

    Creates the account. Until the link is used, all processes and starts return the same one, valid
    for another 24 hours: several that start at once must not void each other's link.
    """
    found = transactions.transaction(_find_or_create)
    if found is None:
        return None
    name, created_at, is_new = found
    if is_new:
        client = ClientInfo("server", "local", uuid.uuid4().hex)
        audit.moderation(client, None, "create admin", {"user_id": USER_ID}, reason=None)
    key = current_app.config["SECRET_KEY"].encode()
    digest = hmac.digest(key, f"first admin {created_at.isoformat()}".encode(), hashlib.sha256)
    token = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    reset_links.create(USER_ID, token)
    return Invitation(name, token)


def _find_or_create(connection: Connection) -> tuple[str, datetime, bool] | None:
    """Return the account's name and age, and whether it is new; None if there is another admin."""
    is_admin = (User.role == "admin") & User.username.is_not(None)
    if connection.execute(select(User.user_id).where(is_admin, not_(_IS_UNCLAIMED))).first():
        return None
    statement = transactions.insert(User, connection.dialect.name).on_conflict_do_nothing()
    row = {"user_id": USER_ID, "role": "admin", "created_at": datetime.now(UTC)}
    is_new = False
    for name in (NAME, f"{NAME} {secrets.token_hex(3)}"):  # a player may have the name
        names = {"username": name, "name_key": name_key(name)}
        inserted = connection.execute(statement.returning(User.user_id), {**row, **names})
        is_new |= inserted.first() is not None
    account = select(User.username, User.created_at).where(_IS_UNCLAIMED)
    found = connection.execute(account).first()
    return (found.username, found.created_at, is_new) if found else None
