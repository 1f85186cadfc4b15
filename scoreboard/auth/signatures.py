"""Verify the signatures of tokens and return their claims, without database access."""

import contextlib
import functools
import uuid
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jwt

# The subject of read-only tokens, which anyone may request. Not a UUID, so never a user id.
PUBLIC_VIEWER = "public-viewer"

REQUIRED = ["sub", "role", "type", "jti", "iat", "exp"]
LONGEST = 4096
# How far ahead the issuer's clock may be, in seconds.
CLOCK_LEEWAY = 10
# Cached verified tokens, about a kilobyte each.
MOST_REMEMBERED = 10_000

Claims = Mapping[str, Any]


@functools.lru_cache(MOST_REMEMBERED)
def verified(token: str, keys: tuple[str, ...], algorithm: str) -> Claims:
    """Return the claims of a token signed with one of the keys.

    Only valid tokens are cached, for exactly these keys. `exp` and `iat` are checked to be
    numbers; callers must compare them with the current time. Raises PyJWT's errors, and
    InvalidTokenError or ValueError for malformed claims that PyJWT accepts.
    """
    claims = _decode(token if len(token) <= LONGEST else "", keys, algorithm)
    # PyJWT accepts anything convertible to a number; our code compares these times directly.
    if not all(type(claims[name]) in (int, float) for name in ("iat", "exp")):
        raise jwt.InvalidTokenError
    if claims["sub"] != PUBLIC_VIEWER:
        # Revocation looks the id up by its canonical text; UUIDs have several spellings.
        claims["sub"] = str(uuid.UUID(claims["sub"]))
    return MappingProxyType(claims)


def _decode(token: str, keys: tuple[str, ...], algorithm: str) -> dict[str, Any]:
    """Return the claims, decoded with the first key that matches the signature."""
    for key in keys:
        # Only a signature mismatch can be resolved by trying another key.
        with contextlib.suppress(jwt.InvalidSignatureError):
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                # Fixed here: an attacker chooses the algorithm in the token's header.
                algorithms=[algorithm],
                # Flask-JWT-Extended's decoder treats a token without `type` as an access token.
                options={"require": REQUIRED},
                leeway=CLOCK_LEEWAY,
            )
            return claims
    raise jwt.InvalidSignatureError
