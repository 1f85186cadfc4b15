"""Registering, signing in and out, renewing tokens."""

from datetime import UTC, datetime
from typing import Any

from flask import current_app
from sqlalchemy import Connection

from .. import database
from ..errors import Forbidden, InvalidInput, NotAuthenticated
from ..realtime import broadcast
from . import accounts, passwords, tokens
from .schemas import login_schema, register_schema
from .signatures import PUBLIC_VIEWER


def register(body: object) -> accounts.Account:
    """Create a player from a registration. Raises InvalidInput, Conflict or RateLimited."""
    given = register_schema.load(json_object(body))
    with passwords.waiting():
        password_hash = passwords.hash_password(given["password"])
    return accounts.create(given["username"], given["email"], password_hash, role="player")


def login(body: object) -> dict[str, Any]:
    """Return new tokens for a name and its password. Raises NotAuthenticated or RateLimited."""
    given = login_schema.load(json_object(body))
    with passwords.waiting():
        account = accounts.by_name(given["username"])
        right = passwords.matches(given["password"], account.password_hash if account else None)
    if not account or not right:
        raise NotAuthenticated("Username or password is wrong.", "wrong_credentials")
    if account.suspended_at is not None:
        raise NotAuthenticated("This account is suspended.", "account_suspended")
    return tokens.issue_pair(account.user_id, account.role)


def refresh(token: str | None) -> dict[str, Any]:
    """Return a new pair for a refresh token, which is dead from then on.

    Raises NotAuthenticated. A token that is used a second time was stolen, by whom of the two
    nobody can tell: the whole family dies.
    """
    claims = tokens.read(token, "refresh")
    family, until = tokens.token_ids(claims)[-1], tokens.dead_by(claims)

    def rotate(connection: Connection) -> str | None:
        role = tokens.user_role(connection, {**claims, "jti": None})
        if tokens.revoke(connection, claims["jti"], until):
            return role
        tokens.revoke(connection, family, until)
        return None

    role = database.transaction(rotate)
    if role is None:
        broadcast.end_session(family, datetime.now(UTC))
        raise NotAuthenticated("This refresh token was used before: sign in again.", "token_reused")
    return tokens.issue_pair(claims["sub"], role, family)


def logout(token: str | None) -> None:
    """End the sign-in that this access token belongs to, and close its connections."""
    tokens.authenticate(token)
    claims = tokens.read(token, "access")
    name, until = tokens.token_ids(claims)[-1], tokens.dead_by(claims)
    database.transaction(lambda connection: tokens.revoke(connection, name, until))
    broadcast.end_session(name, datetime.now(UTC))


def me(token: str | None) -> accounts.Account:
    """Return the account whose token this is. Raises NotAuthenticated."""
    caller = tokens.authenticate(token)
    account = accounts.by_id(caller.user_id) if caller.user_id else None
    if account is None:
        raise NotAuthenticated("This token belongs to no account.", "not_permitted")
    return account


def viewer() -> dict[str, Any]:
    """Return a read-only token for anyone. Raises Forbidden if the board is not public."""
    if not current_app.config["PUBLIC_BOARD"]:
        raise Forbidden("This board is not public: sign in to watch it.", "board_not_public")
    lifetime = current_app.config["VIEWER_TOKEN_EXPIRES"]
    token = tokens.issue_access(PUBLIC_VIEWER, "viewer", lifetime)
    return {"access_token": token, "expires_in": int(lifetime.total_seconds())}


def json_object(body: object) -> dict[str, Any]:
    """Return the body, which must be a JSON object. Raises InvalidInput."""
    if not isinstance(body, dict):
        raise InvalidInput("The body must be a JSON object of at most 64 KiB.", {}, "invalid_json")
    return body
