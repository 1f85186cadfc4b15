"""Tokens: issued with Flask-JWT-Extended, read with every claim required, revoked by name.

Every sign-in is a family: its access and refresh tokens carry the same `family`, and revoking
that ends them all. A token minted by somebody else with our key has no family, only its `jti`.
"""

import contextlib
import hashlib
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import jwt
from flask import current_app
from flask_jwt_extended import create_access_token, create_refresh_token
from sqlalchemy import Connection, bindparam, delete, or_, select

from .. import database
from ..errors import NotAuthenticated
from ..models import RevokedToken, User, UtcDateTime
from ..permissions import Caller

# The subject of the read-only tokens that anyone may have; not a user id, so never a user.
PUBLIC_VIEWER = "public-viewer"

REQUIRED = ["sub", "role", "type", "jti", "iat", "exp"]
LONGEST = 4096
LONGEST_NAME = 64
LAST_MOMENT = datetime(9999, 12, 31, tzinfo=UTC).timestamp()

Claims = dict[str, Any]

_REVOKED = (
    select(RevokedToken.token_id)
    .where(
        RevokedToken.token_id.in_(bindparam("token_ids", expanding=True)),
        # Under a user's name, only what was issued until then; the rest is dead for good.
        or_(
            RevokedToken.token_id != bindparam("all_of_user"),
            RevokedToken.revoked_at >= bindparam("issued_at", type_=UtcDateTime),
        ),
    )
    .exists()
)
_USER_ROLE = select(User.role, User.suspended_at, _REVOKED.label("revoked")).where(
    User.user_id == bindparam("user_id")
)


def authenticate(token: str | None) -> Caller:
    """Return who holds this access token.

    What the database says of the user now (role, suspension, revocation) wins over the claims.
    Raises NotAuthenticated.
    """
    claims = read(token, "access")
    if claims["sub"] == PUBLIC_VIEWER:
        role = database.read(lambda connection: _viewer_role(connection, claims))
    else:
        role = database.read(lambda connection: user_role(connection, claims))
    user_id = None if claims["sub"] == PUBLIC_VIEWER else claims["sub"]
    return Caller(user_id, role, claims["iat"], claims["exp"], token_ids(claims))


def read(token: str | None, kind: Literal["access", "refresh"]) -> Claims:
    """Return the claims of a token of ours that is of this kind and has not expired.

    Nothing is asked of the database. Raises NotAuthenticated with the code that says why.
    """
    if not token:
        raise NotAuthenticated("This needs a token: send it as a Bearer token.", "token_missing")
    try:
        claims: Claims = jwt.decode(
            token if len(token) <= LONGEST else "",
            current_app.config["JWT_SECRET_KEY"],
            # Named here: the algorithm in a token's own header is the attacker's choice.
            algorithms=[current_app.config["JWT_ALGORITHM"]],
            # The extension's decoder takes a token without `type` for an access token.
            options={"require": REQUIRED},
        )
    except jwt.ExpiredSignatureError:
        raise NotAuthenticated("The token has expired: get a new one.", "token_expired") from None
    except (jwt.InvalidTokenError, ValueError, OverflowError):
        raise NotAuthenticated("The token is not valid here.") from None
    # The library takes what can be made a number for one; the times are compared elsewhere too.
    if not all(type(claims[name]) in (int, float) for name in ("iat", "exp")):
        raise NotAuthenticated("The token is not valid here.")
    if claims["type"] != kind:
        raise NotAuthenticated(f"This needs a token of type {kind}.", "token_type")
    # Written in another way, the same id would not be found under the name that revokes it.
    with contextlib.suppress(ValueError):
        claims["sub"] = str(uuid.UUID(claims["sub"]))
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
    asked = {"user_id": _user_id(claims), **_revocation(claims)}
    row = connection.execute(_USER_ROLE, asked).one_or_none()
    if row is None:
        raise NotAuthenticated("The token is not valid here.")
    _refuse_if(row.revoked)
    if row.suspended_at is not None:
        raise NotAuthenticated("This account is suspended.", "account_suspended")
    return str(row.role)


def _viewer_role(connection: Connection, claims: Claims) -> str:
    _refuse_if(connection.execute(select(_REVOKED), _revocation(claims)).scalar_one())
    return "viewer"


def _revocation(claims: Claims) -> dict[str, Any]:
    return {
        "token_ids": token_ids(claims),
        "all_of_user": all_of(claims["sub"]),
        "issued_at": datetime.fromtimestamp(max(0, claims["iat"]), UTC),
    }


def _refuse_if(revoked: bool) -> None:
    if revoked:
        raise NotAuthenticated("The token was revoked: sign in again.", "token_revoked")


def _user_id(claims: Claims) -> str:
    try:
        return str(uuid.UUID(claims["sub"]))
    except ValueError:
        raise NotAuthenticated("The token is not valid here.") from None


def issue_access(user_id: str, role: str, lifetime: timedelta | None = None) -> str:
    """Return an access token on its own, good for `lifetime` (default: as after sign-in)."""
    return str(
        create_access_token(
            user_id, additional_claims={"role": role}, expires_delta=lifetime, fresh=False
        )
    )


def issue_pair(user_id: str, role: str, family: str | None = None) -> dict[str, Any]:
    """Return the answer to a sign-in: an access and a refresh token of one family."""
    claims = {"role": role, "family": family or uuid.uuid4().hex}
    lifetime = current_app.config["JWT_ACCESS_TOKEN_EXPIRES"]
    return {
        "access_token": create_access_token(user_id, additional_claims=claims),
        "refresh_token": create_refresh_token(user_id, additional_claims=claims),
        "token_type": "Bearer",
        "expires_in": int(lifetime.total_seconds()),
        "user_id": user_id,
    }


def dead_by(claims: Claims) -> datetime:
    """Return when every token under these names has expired of itself."""
    ours = time.time() + current_app.config["JWT_REFRESH_TOKEN_EXPIRES"].total_seconds()
    return datetime.fromtimestamp(min(max(claims["exp"], ours), LAST_MOMENT), UTC)


def revoke(connection: Connection, token_id: str, until: datetime) -> bool:
    """Refuse this token, or family of tokens, from now on. Return False if it was so already.

    `until` is when its tokens are dead of themselves.
    """
    now = datetime.now(UTC)
    connection.execute(delete(RevokedToken).where(RevokedToken.expires_at < now))
    revoked = connection.execute(
        database.insert(RevokedToken, connection.dialect.name)
        .values(token_id=token_id, revoked_at=now, expires_at=until)
        .on_conflict_do_nothing()
        .returning(RevokedToken.token_id)
    )
    return revoked.one_or_none() is not None


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
