"""Issue and verify access and refresh tokens.

All tokens of a sign-in carry the same `family`, and revoking the family revokes them all. A token
minted elsewhere has no family, only its `jti`. `issuer.py` verifies those of another issuer.
"""

import contextlib
import functools
import hashlib
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, Literal

import jwt
from flask import current_app
from flask_jwt_extended import create_access_token, create_refresh_token

from ..errors import NotAuthenticated, Overloaded, UnknownAccount
from ..http.request import ClientInfo, current_client
from ..permissions import ROLES, Caller
from ..services import services

# The subject of read-only tokens, which any client may request. Not a UUID, so never a user id.
PUBLIC_VIEWER = "public-viewer"
# Flask-JWT-Extended's decoder treats a token without `type` as an access token.
OPTIONS: Any = {"require": ["sub", "role", "type", "jti", "iat", "exp"]}
SCHEME = "Bearer"
MAX_TOKEN_LENGTH = 4096
# The size of the column `revoked_tokens.token_id`.
MAX_TOKEN_ID_LENGTH = 64
# How far ahead the issuer's clock may be, in seconds.
CLOCK_LEEWAY = 10
# Verified tokens in the cache, about a kilobyte each.
CACHE_SIZE = 10_000
INVALID = "The token is invalid: sign in again."

Claims = Mapping[str, Any]


def authenticate(token: str | None, client: ClientInfo | None = None) -> Caller:
    """Return the caller that this access token identifies.

    The user's current role, suspension and revocations in the database override the claims.
    Blocks for one query, shared with concurrent calls. Raises NotAuthenticated or Overloaded.

    With JWT_AUTO_CREATE, the first token of another issuer's user creates the user, in a
    transaction; `client`, by default that of the current request, may do so as often as
    AUTH_RATE_LIMIT allows, else RateLimited is raised.
    """
    claims = read(token, "access")
    role: str
    try:
        role = services().token_checks.run(claims)
    except UnknownAccount:
        issuer = services().issuer
        if token is None or issuer is None or not issuer.admit(token, client or current_client()):
            raise
        role = services().token_checks.run(claims)
    return Caller(user_id(claims), role, claims["iat"], claims["exp"], token_ids(claims))


def claimed(token: str | None) -> tuple[str | None, str] | None:
    """Return the user id and role in a valid access token; None for others. Reads no database."""
    try:
        claims = read(token, "access")
    except (NotAuthenticated, Overloaded):
        return None
    return user_id(claims), claims["role"] if claims["role"] in list(ROLES) else "unknown"


def read(token: str | None, *kinds: Literal["access", "refresh"]) -> Claims:
    """Return the claims of a valid, unexpired token of one of these kinds.

    The database is not read. Raises NotAuthenticated with a code for the reason. Blocks, or raises
    Overloaded, only for a token of another issuer with an unknown key: see `KeySet.get`.
    """
    if not token:
        raise NotAuthenticated("This needs a token: send it as a Bearer token.", "token_missing")
    settings, issuer = current_app.config, services().issuer
    try:
        # The header decides which keys verify the token, and each key has one algorithm.
        claims = (issuer.claims(token) if issuer else None) or _verified(
            token, settings["JWT_ACCEPTED_KEYS"], settings["JWT_ALGORITHM"]
        )
        # Checked on each call: the result is cached, and the clock may have been set back since.
        if claims["exp"] <= time.time():
            raise jwt.ExpiredSignatureError
        if claims["iat"] > time.time() + CLOCK_LEEWAY:
            raise jwt.ImmatureSignatureError
    except jwt.ExpiredSignatureError:
        raise NotAuthenticated("The token has expired: get a new one.", "token_expired") from None
    except (jwt.InvalidTokenError, ValueError, OverflowError):
        raise NotAuthenticated(INVALID) from None
    if claims["type"] not in kinds:
        raise NotAuthenticated(f"This needs a token of type {' or '.join(kinds)}.", "token_type")
    if claims["type"] == "refresh" and not isinstance(claims.get("family"), str):
        # Without a family, the new pair would get this `jti` as its family and be revoked with it.
        raise NotAuthenticated(INVALID)
    return claims


@functools.lru_cache(CACHE_SIZE)
def _verified(token: str, keys: tuple[str, ...], algorithm: str) -> Claims:
    """Return the claims of a token signed with one of the keys. Only valid tokens are cached.

    Callers must compare `exp` and `iat` with the current time. Raises PyJWT's errors, ValueError
    or OverflowError.
    """
    if len(token) > MAX_TOKEN_LENGTH:
        raise jwt.InvalidTokenError
    for key in keys:
        # Only a signature mismatch can be resolved by trying another key.
        with contextlib.suppress(jwt.InvalidSignatureError):
            # The algorithm is fixed: an attacker chooses the one in the token's header.
            claims = jwt.decode(token, key, [algorithm], OPTIONS, leeway=CLOCK_LEEWAY)
            break
    else:
        raise jwt.InvalidSignatureError
    # PyJWT accepts anything convertible to a number; `read` compares these times directly.
    if not all(type(claims[name]) in (int, float) for name in ("iat", "exp")):
        raise jwt.InvalidTokenError
    if claims["sub"] != PUBLIC_VIEWER:
        # Revocations are stored by the canonical text of the id; UUIDs have several spellings.
        claims["sub"] = str(uuid.UUID(claims["sub"]))
    return MappingProxyType(claims)


def user_id(claims: Claims) -> str | None:
    """Return the user id in the claims, None for a public viewer token."""
    return None if claims["sub"] == PUBLIC_VIEWER else claims["sub"]


def token_ids(claims: Claims) -> tuple[str, ...]:
    """Return the ids that revoke this token: of its user, its `jti`, and finally its family."""
    ids = (user_token_id(claims["sub"]), claims.get("jti"), claims.get("family"))
    return tuple(_storable(each) for each in ids if isinstance(each, str))


def user_token_id(user_id: str) -> str:
    """Return the id that revokes all tokens of a user."""
    return f"user:{user_id}"


def _storable(token_id: str) -> str:
    """Return the id, or its digest if the column cannot hold it: a foreign `jti` is any text."""
    if token_id.isprintable() and 0 < len(token_id) <= MAX_TOKEN_ID_LENGTH:
        return token_id
    return hashlib.sha256(token_id.encode(errors="replace")).hexdigest()


def issue_access(user_id: str, role: str, lifetime: timedelta | None = None) -> str:
    """Return an access token without a refresh token; `lifetime` defaults to that of a sign-in."""
    lifetime = lifetime or current_app.config["JWT_ACCESS_TOKEN_EXPIRES"]
    return create_access_token(user_id, additional_claims={"role": role, **_times(lifetime)})


def issue_pair(
    user_id: str, role: str, family: str | None = None, refresh_lifetime: timedelta | None = None
) -> dict[str, Any]:
    """Return the response to a sign-in: an access and a refresh token of one family."""
    claims = {"role": role, "family": family or uuid.uuid4().hex}
    lifetime = current_app.config["JWT_ACCESS_TOKEN_EXPIRES"]
    access = {**claims, **_times(lifetime)}
    refresh_lifetime = refresh_lifetime or current_app.config["JWT_REFRESH_TOKEN_EXPIRES"]
    refresh = {**claims, **_times(refresh_lifetime)}
    return {
        "access_token": create_access_token(user_id, additional_claims=access),
        "refresh_token": create_refresh_token(user_id, additional_claims=refresh),
        "token_type": SCHEME,
        "expires_in": int(lifetime.total_seconds()),
        "user_id": user_id,
    }


def lifetime_of(claims: Claims) -> timedelta:
    """Return the lifetime of the refresh token in these claims, which its successors get too."""
    longest: timedelta = current_app.config["GUEST_REFRESH_TOKEN_EXPIRES"]
    return timedelta(seconds=min(claims["exp"] - claims["iat"], longest.total_seconds()))


def _times(lifetime: timedelta) -> dict[str, float]:
    """Return `iat` and `exp` to the microsecond, in seconds since the epoch.

    Whole seconds round down: a token issued right after an `end-sessions` would be revoked by it.
    """
    issued_at = datetime.now(UTC).timestamp()
    return {"iat": issued_at, "exp": issued_at + lifetime.total_seconds()}
