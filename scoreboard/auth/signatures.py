"""What a token says, if one of our keys signed it. Nothing is asked of the database."""

import contextlib
import functools
import uuid
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jwt

# The subject of the read-only tokens that anyone may have; not a user id, so never a user.
PUBLIC_VIEWER = "public-viewer"

REQUIRED = ["sub", "role", "type", "jti", "iat", "exp"]
LONGEST = 4096
# How far ahead the clock of whoever issued a token may be, in seconds.
CLOCKS_DIFFER = 10
# Verified tokens that are remembered, each about a kilobyte.
MOST_REMEMBERED = 10_000

Claims = Mapping[str, Any]


@functools.lru_cache(MOST_REMEMBERED)
def verified(token: str, keys: tuple[str, ...], algorithm: str) -> Claims:
    """Return the claims of a token with a good signature by one of the keys.

    Only such are remembered, and only for these very keys. Of `exp` and `iat` this says that they
    are moments, not whether they are past. Raises what PyJWT raises, and InvalidTokenError or
    ValueError for what it lets pass.
    """
    claims = _decode(token if len(token) <= LONGEST else "", keys, algorithm)
    # The library takes what can be made a number for one; the times are compared elsewhere too.
    if not all(type(claims[name]) in (int, float) for name in ("iat", "exp")):
        raise jwt.InvalidTokenError
    if claims["sub"] != PUBLIC_VIEWER:
        # Written in another way, the same id would not be found under the name that revokes it.
        claims["sub"] = str(uuid.UUID(claims["sub"]))
    return MappingProxyType(claims)


def _decode(token: str, keys: tuple[str, ...], algorithm: str) -> dict[str, Any]:
    """Return what the first key with which the signature is good says of the token."""
    for key in keys:
        # Another signature is the one thing that another key can mend.
        with contextlib.suppress(jwt.InvalidSignatureError):
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                # Named here: the algorithm in a token's own header is the attacker's choice.
                algorithms=[algorithm],
                # The extension's decoder takes a token without `type` for an access token.
                options={"require": REQUIRED},
                leeway=CLOCKS_DIFFER,
            )
            return claims
    raise jwt.InvalidSignatureError
