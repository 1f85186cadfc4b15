"""Issue, verify and revoke access and refresh tokens.

Every sign-in is a family: its access and refresh tokens carry the same `family`, and revoking the
family revokes them all. A token minted elsewhere with our key has no family, only its `jti`.
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
from sqlalchemy import Connection, Double, Executable, cast, delete, extract, null, select

from ..concurrency.coalescer import Coalescer
from ..db import transactions as database
from ..errors import NotAuthenticated
from ..models import RevokedToken, User
from ..permissions import ROLES, Caller
from ..services import services
from .signatures import CLOCK_LEEWAY, PUBLIC_VIEWER, Claims, verified

SCHEME = "Bearer"
LONGEST_NAME = 64
# Revocations are kept this long after the token expires: one deleted while the clock was ahead
# would make the token valid again when the clock is set back.
SLACK = timedelta(days=1)
LAST_MOMENT = datetime(9999, 12, 31, tzinfo=UTC).timestamp()

# Tokens per query for their users.
MAX_BATCH_SIZE = 200


@functools.cache
def _users_and_revoked(dialect: str) -> Executable:
    """Return one query of two tables: (id, role, suspended_at) and (id, None, revoked_at)."""

    def time(column: Any) -> Any:
        # In seconds on PostgreSQL: outside a transaction, the date style is the database's.
        return column if dialect == "sqlite" else cast(extract("epoch", column), Double)

    users = select(User.user_id, User.role, time(User.suspended_at)).where(
        database.is_any(User.user_id, "user_ids", dialect)
    )
    revoked = select(RevokedToken.token_id, null(), time(RevokedToken.revoked_at)).where(
        database.is_any(RevokedToken.token_id, "token_ids", dialect)
    )
    return users.union_all(revoked)


def init_app(app: Flask) -> None:
    """Create the coalescer that looks up the users of concurrent requests in one query."""
    services(app).roles = Coalescer(_roles, MAX_BATCH_SIZE)


def authenticate(token: str | None) -> Caller:
    """Return the caller that this access token identifies.

    The user's current role, suspension and revocations in the database override the claims.
    Blocks for one query, shared with concurrent calls. Raises NotAuthenticated or Overloaded.
    """
    claims = read(token, "access")
    role: str = services().roles.run(claims)
    user_id = None if claims["sub"] == PUBLIC_VIEWER else claims["sub"]
    return Caller(user_id, role, claims["iat"], claims["exp"], token_ids(claims))


def claimed(token: str | None) -> tuple[str | None, str] | None:
    """Return the user id and role in a valid access token's claims, None for any other token.

    The database is not read: the token may be revoked and the role outdated.
    """
    try:
        claims = read(token, "access")
    except NotAuthenticated:
        return None
    role = next((role for role in ROLES if role == claims["role"]), "unknown")
    return (None if claims["sub"] == PUBLIC_VIEWER else claims["sub"]), role


def refused(held: Iterable[str]) -> dict[str, NotAuthenticated]:
    """Return the tokens that the database now refuses, each with the error.

    Expired and invalid tokens are left out. Blocks for one query.
    """
    claims: dict[str, Claims] = {}
    for token in held:
        with contextlib.suppress(NotAuthenticated):
            claims[token] = read(token, "access")
    roles = _roles(list(claims.values()))
    told = zip(claims, roles, strict=True)
    return {token: role for token, role in told if isinstance(role, NotAuthenticated)}


def read(token: str | None, *kinds: Literal["access", "refresh"]) -> Claims:
    """Return the claims of a valid, unexpired token of one of these kinds.

    The database is not read. Raises NotAuthenticated with a code for the reason.
    """
    if not token:
        raise NotAuthenticated("This needs a token: send it as a Bearer token.", "token_missing")
    settings = current_app.config
    try:
        claims = verified(token, settings["JWT_ACCEPTED_KEYS"], settings["JWT_ALGORITHM"])
        # Checked on each call: `verified` caches, and the clock may even have been set back since.
        if claims["exp"] <= time.time():
            raise jwt.ExpiredSignatureError
        if claims["iat"] > time.time() + CLOCK_LEEWAY:
            raise jwt.ImmatureSignatureError
    except jwt.ExpiredSignatureError:
        raise NotAuthenticated("The token has expired: get a new one.", "token_expired") from None
    except (jwt.InvalidTokenError, ValueError, OverflowError):
        raise NotAuthenticated("The token is not valid here.") from None
    if claims["type"] not in kinds:
        message = f"This needs a token of type {' or '.join(kinds)}."
        raise NotAuthenticated(message, "token_type")
    if claims["type"] == "refresh" and not isinstance(claims.get("family"), str):
        # Without a family, the new pair would get this `jti` as its family and be revoked with it.
        raise NotAuthenticated("The token is not valid here.")
    return claims


def token_ids(claims: Claims) -> tuple[str, ...]:
    """Return the names that revoke this token: of its user, its `jti`, and its family last."""
    names = [user_token_id(claims["sub"]), claims.get("jti"), claims.get("family")]
    return tuple(_storable(name) for name in names if isinstance(name, str))


def _storable(name: str) -> str:
    """Return the name, or its digest if the column cannot hold it: a foreign `jti` is any text."""
    if name.isprintable() and 0 < len(name) <= LONGEST_NAME:
        return name
    return hashlib.sha256(name.encode(errors="replace")).hexdigest()


def user_token_id(user_id: str) -> str:
    """Return the name that revokes all tokens of a user."""
    return f"user:{user_id}"


def user_role(connection: Connection, claims: Claims) -> str:
    """Return the user's current role. Raises NotAuthenticated if the token is refused."""
    role = _roles([claims], connection)[0]
    if isinstance(role, NotAuthenticated):
        raise role
    return role


def _roles(
    asked: Sequence[Claims], connection: Connection | None = None
) -> list[str | NotAuthenticated]:
    """Return the current role of each token's user, or why the token is refused.

    Without a `connection`, takes one from the pool.
    """
    dialect = connection.dialect.name if connection else database.dialect()
    statement = _users_and_revoked(dialect)
    parameters = {
        "user_ids": database.any_of({claims["sub"] for claims in asked}, dialect),
        "token_ids": database.any_of(
            {name for claims in asked for name in token_ids(claims)}, dialect
        ),
    }
    execute: Any = connection.execute if connection else database.query
    rows = execute(statement, parameters)
    users: dict[str, tuple[str, Any]] = {}
    revoked: dict[str, float] = {}
    for name, role, moment in rows:
        if role is None:
            revoked[name] = moment.timestamp() if isinstance(moment, datetime) else moment
        else:
            users[name] = role, moment
    return [_role(claims, users.get(claims["sub"]), revoked) for claims in asked]


def _role(
    claims: Claims, user: tuple[str, Any] | None, revoked: Mapping[str, float]
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


def _is_dead(claims: Claims, name: str, revoked_at: float) -> bool:
    # A user's name revokes only tokens issued until then; a `jti` or family, all of its tokens.
    return name != user_token_id(claims["sub"]) or revoked_at >= claims["iat"]


def issue_access(user_id: str, role: str, lifetime: timedelta | None = None) -> str:
    """Return an access token without a refresh token; `lifetime` defaults to that of a sign-in."""
    lifetime = lifetime or current_app.config["JWT_ACCESS_TOKEN_EXPIRES"]
    claims = {"role": role, **_times(datetime.now(UTC), lifetime)}
    return str(create_access_token(user_id, additional_claims=claims, fresh=False))


def issue_pair(user_id: str, role: str, family: str | None = None) -> dict[str, Any]:
    """Return the response to a sign-in: an access and a refresh token of one family."""
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

    In whole seconds, a token would seem older than an `end-sessions` just before it.
    """
    issued_at = now.timestamp()
    return {"iat": issued_at, "exp": issued_at + lifetime.total_seconds()}


def latest_expiry(claims: Claims) -> datetime:
    """Return when this token and all others of its sign-in will have expired."""
    ours = time.time() + current_app.config["JWT_REFRESH_TOKEN_EXPIRES"].total_seconds()
    return datetime.fromtimestamp(min(max(claims["exp"], ours), LAST_MOMENT), UTC)


def revoke(connection: Connection, token_id: str, until: datetime) -> bool:
    """Revoke this token or family. Return False if it was revoked already.

    `until` is when its tokens expire: the revocation is deleted SLACK after that.
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
    """Revoke all of the user's tokens issued until now; keep the revocation `until` then."""
    row = {"token_id": user_token_id(user_id), "revoked_at": datetime.now(UTC), "expires_at": until}
    statement = database.insert(RevokedToken, connection.dialect.name).values(row)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[RevokedToken.token_id],
            set_={"revoked_at": row["revoked_at"], "expires_at": row["expires_at"]},
        )
    )
