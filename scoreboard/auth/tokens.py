"""Tokens: issued with Flask-JWT-Extended, read with every claim required, revoked by name.

Every sign-in is a family: its access and refresh tokens carry the same `family`, and revoking
that ends them all. A token minted by somebody else with our key has no family, only its `jti`.
"""

import contextlib
import functools
import hashlib
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import jwt
from flask import Flask, current_app
from flask_jwt_extended import create_access_token, create_refresh_token
from sqlalchemy import Connection, Executable, delete, null, select

from ..concurrency.coalescer import Together
from ..db import transactions as database
from ..errors import NotAuthenticated
from ..models import RevokedToken, User
from ..permissions import ROLES, Caller
from .signatures import CLOCKS_DIFFER, PUBLIC_VIEWER, Claims, verified

SCHEME = "Bearer"
LONGEST_NAME = 64
# A dead token's name is kept this much longer than the token lives: were it forgotten while the
# clock was ahead, the token would live again once the clock is set back.
SLACK = timedelta(days=1)
LAST_MOMENT = datetime(9999, 12, 31, tzinfo=UTC).timestamp()

# Tokens whose users are looked up by one query.
MOST_TOGETHER = 200


@functools.cache
def _users_and_revoked(dialect: str) -> Executable:
    """Return one statement for two tables: (id, role, suspended_at), and (id, None, revoked_at)."""
    users = select(User.user_id, User.role, User.suspended_at).where(
        database.is_any(User.user_id, "user_ids", dialect)
    )
    revoked = select(RevokedToken.token_id, null(), RevokedToken.revoked_at).where(
        database.is_any(RevokedToken.token_id, "token_ids", dialect)
    )
    return users.union_all(revoked)


def init_app(app: Flask) -> None:
    """Look the users of tokens that arrive at the same time up in one query."""
    app.extensions["roles"] = Together(_roles, MOST_TOGETHER)


def authenticate(token: str | None) -> Caller:
    """Return who holds this access token.

    What the database says of the user now (role, suspension, revocation) wins over the claims.
    Raises NotAuthenticated.
    """
    claims = read(token, "access")
    role: str = current_app.extensions["roles"].ask(claims)
    user_id = None if claims["sub"] == PUBLIC_VIEWER else claims["sub"]
    return Caller(user_id, role, claims["iat"], claims["exp"], token_ids(claims))


def claimed(token: str | None) -> tuple[str | None, str] | None:
    """Return the user id and role that an access token of ours claims, None for any other token.

    Nothing is asked of the database: the token may be revoked and the role an earlier one.
    """
    try:
        claims = read(token, "access")
    except NotAuthenticated:
        return None
    role = next((role for role in ROLES if role == claims["role"]), "unknown")
    return (None if claims["sub"] == PUBLIC_VIEWER else claims["sub"]), role


def refused(held: Iterable[str]) -> dict[str, NotAuthenticated]:
    """Return those of these access tokens that the database refuses by now, and why.

    Nothing is said of what has expired.
    """
    claims: dict[str, Claims] = {}
    for token in held:
        with contextlib.suppress(NotAuthenticated):
            claims[token] = read(token, "access")
    roles = _roles(list(claims.values()))
    told = zip(claims, roles, strict=True)
    return {token: role for token, role in told if isinstance(role, NotAuthenticated)}


def read(token: str | None, *kinds: Literal["access", "refresh"]) -> Claims:
    """Return the claims of a token of ours that is of one of these kinds and has not expired.

    Nothing is asked of the database. Raises NotAuthenticated with the code that says why.
    """
    if not token:
        raise NotAuthenticated("This needs a token: send it as a Bearer token.", "token_missing")
    settings = current_app.config
    try:
        claims = verified(token, settings["JWT_ACCEPTED_KEYS"], settings["JWT_ALGORITHM"])
        # Not when it was verified, but now: since then the clock may have gone back, too.
        if claims["exp"] <= time.time():
            raise jwt.ExpiredSignatureError
        if claims["iat"] > time.time() + CLOCKS_DIFFER:
            raise jwt.ImmatureSignatureError
    except jwt.ExpiredSignatureError:
        raise NotAuthenticated("The token has expired: get a new one.", "token_expired") from None
    except (jwt.InvalidTokenError, ValueError, OverflowError):
        raise NotAuthenticated("The token is not valid here.") from None
    if claims["type"] not in kinds:
        message = f"This needs a token of type {' or '.join(kinds)}."
        raise NotAuthenticated(message, "token_type")
    if claims["type"] == "refresh" and not isinstance(claims.get("family"), str):
        # Of no sign-in: the pair it would be exchanged for would be dead with its `jti`.
        raise NotAuthenticated("The token is not valid here.")
    return claims


def token_ids(claims: Claims) -> tuple[str, ...]:
    """Return the names under which this token can be revoked, the widest by sign-in last."""
    names = [all_of(claims["sub"]), claims.get("jti"), claims.get("family")]
    return tuple(_storable(name) for name in names if isinstance(name, str))


def _storable(name: str) -> str:
    """Return the name, or its digest if the column cannot hold it: others may mint any `jti`."""
    if name.isprintable() and 0 < len(name) <= LONGEST_NAME:
        return name
    return hashlib.sha256(name.encode(errors="replace")).hexdigest()


def all_of(user_id: str) -> str:
    """Return the name under which all tokens of a user can be revoked."""
    return f"user:{user_id}"


def user_role(connection: Connection, claims: Claims) -> str:
    """Return the user's present role. Raises NotAuthenticated if the token no longer counts."""
    role = _roles([claims], connection)[0]
    if isinstance(role, NotAuthenticated):
        raise role
    return role


def _roles(
    asked: Sequence[Claims], connection: Connection | None = None
) -> list[str | NotAuthenticated]:
    """Return the current role of each token's user, or why the token is refused.

    Without a `connection`, reads with one of its own.
    """
    dialect = connection.dialect.name if connection else database.dialect()
    statement = _users_and_revoked(dialect)
    parameters = {
        "user_ids": database.any_of({claims["sub"] for claims in asked}, dialect),
        "token_ids": database.any_of(
            {name for claims in asked for name in token_ids(claims)}, dialect
        ),
    }
    rows = (
        connection.execute(statement, parameters).all()
        if connection
        else database.query(statement, parameters)
    )
    users: dict[str, tuple[str, datetime | None]] = {}
    revoked: dict[str, datetime] = {}
    for name, role, moment in rows:
        if role is None:
            revoked[name] = moment
        else:
            users[name] = role, moment
    return [_role(claims, users.get(claims["sub"]), revoked) for claims in asked]


def _role(
    claims: Claims, user: tuple[str, datetime | None] | None, revoked: Mapping[str, datetime]
) -> str | NotAuthenticated:
    if user is None and claims["sub"] != PUBLIC_VIEWER:
        return NotAuthenticated("The token is not valid here.")
    if revoked and any(
        _is_dead(claims, name, revoked[name]) for name in token_ids(claims) if name in revoked
    ):
        return NotAuthenticated("The token was revoked: sign in again.", "token_revoked")
    if user is None:
        return "viewer"
    role, suspended_at = user
    if suspended_at is not None:
        return NotAuthenticated("This account is suspended.", "account_suspended")
    return role


def _is_dead(claims: Claims, name: str, revoked_at: datetime) -> bool:
    # Under a user's name, only what was issued until then; the rest is dead for good.
    return name != all_of(claims["sub"]) or revoked_at.timestamp() >= claims["iat"]


def issue_access(user_id: str, role: str, lifetime: timedelta | None = None) -> str:
    """Return an access token on its own, good for `lifetime` (default: as after sign-in)."""
    lifetime = lifetime or current_app.config["JWT_ACCESS_TOKEN_EXPIRES"]
    claims = {"role": role, **_times(datetime.now(UTC), lifetime)}
    return str(create_access_token(user_id, additional_claims=claims, fresh=False))


def issue_pair(user_id: str, role: str, family: str | None = None) -> dict[str, Any]:
    """Return the answer to a sign-in: an access and a refresh token of one family."""
    claims = {"role": role, "family": family or uuid.uuid4().hex}
    now, settings = datetime.now(UTC), current_app.config
    lifetime = settings["JWT_ACCESS_TOKEN_EXPIRES"]
    access = {**claims, **_times(now, lifetime)}
    renewal = {**claims, **_times(now, settings["JWT_REFRESH_TOKEN_EXPIRES"])}
    return {
        "access_token": create_access_token(user_id, additional_claims=access),
        "refresh_token": create_refresh_token(user_id, additional_claims=renewal),
        "token_type": SCHEME,
        "expires_in": int(lifetime.total_seconds()),
        "user_id": user_id,
    }


def _times(now: datetime, lifetime: timedelta) -> dict[str, float]:
    """Return `iat` and `exp` to the microsecond, in seconds since the epoch.

    In whole seconds a token would seem older than an `end-sessions` just before it.
    """
    issued_at = now.timestamp()
    return {"iat": issued_at, "exp": issued_at + lifetime.total_seconds()}


def dead_by(claims: Claims) -> datetime:
    """Return when every token under these names has expired of itself."""
    ours = time.time() + current_app.config["JWT_REFRESH_TOKEN_EXPIRES"].total_seconds()
    return datetime.fromtimestamp(min(max(claims["exp"], ours), LAST_MOMENT), UTC)


def revoke(connection: Connection, token_id: str, until: datetime) -> bool:
    """Refuse this token, or family of tokens, from now on. Return False if it was so already.

    `until` is when its tokens are dead of themselves.
    """
    now = datetime.now(UTC)
    connection.execute(delete(RevokedToken).where(RevokedToken.expires_at < now - SLACK))
    revoked = connection.execute(
        database.insert(RevokedToken, connection.dialect.name)
        .values(token_id=token_id, revoked_at=now, expires_at=until)
        .on_conflict_do_nothing()
        .returning(RevokedToken.token_id)
    )
    return revoked.one_or_none() is not None


def revoked_at(connection: Connection, token_id: str) -> datetime:
    """Return when this name was revoked. Raises NoResultFound if it was not."""
    statement = select(RevokedToken.revoked_at).where(RevokedToken.token_id == token_id)
    return connection.execute(statement).scalar_one()


def revoke_all(connection: Connection, user_id: str, until: datetime) -> None:
    """Refuse every token of this user that was issued until now."""
    row = {"token_id": all_of(user_id), "revoked_at": datetime.now(UTC), "expires_at": until}
    statement = database.insert(RevokedToken, connection.dialect.name).values(row)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[RevokedToken.token_id],
            set_={"revoked_at": row["revoked_at"], "expires_at": row["expires_at"]},
        )
    )
