"""Registration, sign-in, sign-out and token renewal."""

from datetime import UTC, datetime, timedelta
from typing import Any

from flask import current_app
from sqlalchemy import Connection

from ..db import rate_limits, transactions
from ..errors import Forbidden, InvalidInput, NotAuthenticated, RateLimited
from ..http import fields, request
from ..observability import audit
from ..services import services
from . import accounts, passwords, revocations, tokens
from .names import RESERVED, name_key
from .schemas import login_schema, register_schema

# How long a used refresh token is accepted again: its response was lost, or a second browser tab
# sent the same token.
REUSE_GRACE = timedelta(seconds=30)


def register(body: object, client: request.ClientInfo) -> accounts.Account:
    """Create an account with the role player. Blocks while the password is hashed.

    Raises InvalidInput, Conflict or Overloaded.
    """
    with audit.account_event(client, "register") as event:
        loaded = register_schema.load(fields.json_object(body))
        if name_key(loaded["username"]) in RESERVED:
            message = "This username is reserved: choose another."
            raise InvalidInput(message, {"username": ["Reserved."]}, "name_reserved")
        with services().password_queue.slot(client.address):
            password_hash = passwords.hash_password(loaded["password"])
        account = accounts.create(loaded["username"], loaded["email"], password_hash, "player")
        event.user_id = account.user_id
        return account


def login(body: object, client: request.ClientInfo) -> dict[str, Any]:
    """Return a new token pair for a username and password. Blocks while the password is checked.

    Raises InvalidInput, NotAuthenticated, RateLimited or Overloaded.
    """
    with audit.account_event(client, "login") as event:
        loaded = login_schema.load(fields.json_object(body))
        failures_key = f"{client.address}/{name_key(loaded['username'])}"
        _limit_failures(failures_key)
        with services().password_queue.slot(client.address):
            _limit_failures(failures_key)  # again: other attempts may have failed during the wait
            account = accounts.by_name(loaded["username"])
            event.user_id = account.user_id if account else None
            password_hash = account.password_hash if account else None
            if not passwords.matches(loaded["password"], password_hash) or not account:
                rate_limits.count("LOGIN_RATE_LIMIT", {failures_key: 1})
                raise NotAuthenticated("Username or password is wrong.", "wrong_credentials")
        if account.suspended_at is not None:
            raise NotAuthenticated("This account is suspended.", "account_suspended")
        return tokens.issue_pair(account.user_id, account.role)


def _limit_failures(key: str) -> None:
    """Raise RateLimited if too many sign-ins to this account from this address have failed."""
    (quota,) = rate_limits.count("LOGIN_RATE_LIMIT", {key: 0})
    if quota.amount < 1:
        raise RateLimited(quota.retry_after)


def refresh(token: str | None, client: request.ClientInfo) -> dict[str, Any]:
    """Return a new token pair for a refresh token, which is then used up.

    Reuse within REUSE_GRACE returns another pair of the same sign-in. Later reuse means that the
    token was stolen; since either use may be the thief's, the whole sign-in is revoked and its
    connections are closed. Raises NotAuthenticated.
    """
    with audit.account_event(client, "refresh") as event:
        claims = tokens.read(token, "refresh")
        event.user_id = claims["sub"]
        family, expires_at = tokens.token_ids(claims)[-1], revocations.latest_expiry(claims)

        def rotate(connection: Connection) -> str | None:
            role = revocations.current_role(connection, {**claims, "jti": None})
            used_at = revocations.revoke(connection, claims["jti"], expires_at)
            # `abs`: a time far in the future was recorded before the clock was set back.
            if used_at is None or abs(datetime.now(UTC) - used_at) < REUSE_GRACE:
                return role
            revocations.revoke(connection, family, expires_at)
            return None

        role = transactions.transaction(rotate)
        if role is None:
            services().session_revoked(family, datetime.now(UTC))
            message = "This refresh token was used before: sign in again."
            raise NotAuthenticated(message, "token_reused")
        return tokens.issue_pair(claims["sub"], role, family)


def logout(token: str | None, client: request.ClientInfo) -> None:
    """Revoke the sign-in of an access or (even used) refresh token; close its connections."""
    with audit.account_event(client, "logout") as event:
        claims = tokens.read(token, "access", "refresh")
        event.user_id = tokens.user_id(claims)
        session, expires_at = tokens.token_ids(claims)[-1], revocations.latest_expiry(claims)
        checked = {**claims, "jti": None} if claims["type"] == "refresh" else claims

        def end(connection: Connection) -> None:
            revocations.current_role(connection, checked)
            revocations.revoke(connection, session, expires_at)

        transactions.transaction(end)
        services().session_revoked(session, datetime.now(UTC))


def me(token: str | None) -> accounts.Account:
    """Return the account that this token belongs to. Raises NotAuthenticated."""
    caller = tokens.authenticate(token)
    account = accounts.by_id(caller.user_id) if caller.user_id else None
    if account is None:
        raise NotAuthenticated("This token belongs to no account: sign in.", "not_permitted")
    return account


def viewer() -> dict[str, Any]:
    """Return a new read-only token. Raises Forbidden if the board is not public."""
    if not current_app.config["PUBLIC_BOARD"]:
        raise Forbidden("This board is not public: sign in to watch it.", "board_not_public")
    lifetime = current_app.config["VIEWER_TOKEN_EXPIRES"]
    token = tokens.issue_access(tokens.PUBLIC_VIEWER, "viewer", lifetime)
    return {"access_token": token, "expires_in": int(lifetime.total_seconds())}
