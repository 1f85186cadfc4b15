"""Accept the access tokens of another issuer, such as Auth0, Supabase, Firebase or Keycloak."""

import contextlib
import functools
import hashlib
import secrets
import uuid
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import jwt
from marshmallow import ValidationError

from ..db import rate_limits
from ..errors import Conflict, NotAuthenticated, RateLimited
from ..http.request import ClientInfo
from ..observability import audit
from . import accounts, key_set
from .names import is_reserved, is_valid, made_valid
from .schemas import EMAIL, EmailAddress
from .tokens import CACHE_SIZE, CLOCK_LEEWAY, MAX_TOKEN_LENGTH, Claims

# `iat` too: without it, ending a user's sessions could not tell old tokens from new ones.
OPTIONS: Any = {"require": ["sub", "iss", "aud", "iat", "exp"]}
# The claims that may have a name to show, the best first.
NAMES = ("preferred_username", "name", "nickname", "email")
_email = EmailAddress(validate=EMAIL)


class Issuer:
    """The issuer of the settings JWT_JWKS, JWT_ISSUER and JWT_AUDIENCE."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._keys = key_set.KeySet(settings["JWT_JWKS"])
        self._issuer, self._audience = settings["JWT_ISSUER"], settings["JWT_AUDIENCE"]
        self._creates_users = settings["JWT_AUTO_CREATE"]

    def claims(self, token: str) -> Claims | None:
        """Return the claims of a token of this issuer, in the form of our own, with a `profile`.

        None if the token is not signed by one of its algorithms. Callers must compare `exp` and
        `iat` with the current time. Blocks as `KeySet.get` does. Raises Overloaded, PyJWT's errors,
        ValueError or OverflowError.
        """
        if len(token) > MAX_TOKEN_LENGTH:
            raise jwt.InvalidTokenError
        algorithm, key_id = _header(token.partition(".")[0])
        if algorithm not in key_set.ALGORITHMS:
            return None
        # Only the key's id is taken from the header: never a key, its address or the algorithm.
        key = self._keys.get(key_id) if key_id else None
        if key is None:
            raise jwt.InvalidTokenError
        return _verified(token, key, self._issuer, self._audience)

    def admit(self, token: str, client: ClientInfo) -> bool:
        """Create the user of a token of this issuer; return False for our own tokens.

        Does nothing if there is, or was, such a user. Raises NotAuthenticated unless users are
        created at first sight, and RateLimited.
        """
        claims = self.claims(token)
        if claims is None:
            return False
        if not self._creates_users:
            message = "The user of this token has no account here: ask an admin for one."
            raise NotAuthenticated(message, "account_unknown")
        with contextlib.suppress(accounts.UserExists), audit.account_event(client, "join") as event:
            event.user_id = claims["sub"]
            (quota,) = rate_limits.count("AUTH_RATE_LIMIT", {f"first-sight/{client.address}": 1})
            if quota.amount < 1:
                raise RateLimited(quota.retry_after)
            _create(claims["sub"], *claims["profile"])
        return True


def user_id_of(issuer: str, subject: str) -> str:
    """Return the user id of this issuer's subject; no other issuer's subject has the same."""
    return str(uuid.uuid5(uuid.uuid5(uuid.NAMESPACE_URL, issuer), subject))


@functools.lru_cache(64)
def _header(encoded: str) -> tuple[Any, str | None]:
    """Return `alg` and `kid` of an encoded header. Tokens of one key have the same header.

    Raises PyJWT's errors or ValueError.
    """
    header = jwt.get_unverified_header(f"{encoded}..")
    return header.get("alg"), header.get("kid")


@functools.lru_cache(CACHE_SIZE)
def _verified(token: str, key: jwt.PyJWK, issuer: str, audience: str) -> Claims:
    """Return our claims for a token signed with this key. Only valid tokens are cached."""
    claims = jwt.decode(
        token,
        key,
        [key.algorithm_name],
        OPTIONS,
        issuer=issuer,
        audience=audience,
        leeway=CLOCK_LEEWAY,
    )
    if not all(type(claims[name]) in (int, float) for name in ("iat", "exp")):
        raise jwt.InvalidTokenError
    if not claims["sub"]:
        raise jwt.InvalidTokenError
    # A `jti` of the issuer could equal a token id of ours. Not of the signature: ES256 has several
    # valid ones for the same text.
    signed = token.rpartition(".")[0]
    return MappingProxyType(
        {
            "sub": user_id_of(issuer, claims["sub"]),
            "role": "unknown",  # the role in the database counts
            "type": "access",
            "jti": hashlib.sha256(signed.encode()).hexdigest(),
            "iat": claims["iat"],
            "exp": claims["exp"],
            "profile": (_name(claims), _verified_email(claims)),
        }
    )


def _name(claims: Claims) -> str | None:
    """Return a valid name from the claims. Boards are public: it never has an email address."""
    texts = (claims[name].partition("@")[0] for name in NAMES if isinstance(claims.get(name), str))
    return next(filter(None, map(made_valid, texts)), None)


def _verified_email(claims: Claims) -> str | None:
    """Return the email address if the issuer has verified it: it can receive reset links."""
    if claims.get("email_verified") is not True:
        return None
    try:
        return str(_email.deserialize(claims.get("email")))
    except ValidationError:
        return None


def _create(user_id: str, name: str | None, email: str | None) -> None:
    """Create a player, under another name if that is taken. Raises UserExists."""
    for each in _free_names(name):
        for address in (email, None):
            try:
                accounts.create(each, address, None, "player", user_id)
                return
            except accounts.UserExists:
                raise
            except Conflict as conflict:
                if conflict.code == "username_taken":
                    break
                if conflict.code != "email_taken":
                    raise
    raise Conflict("No name is free.", "username_taken")


def _free_names(name: str | None) -> Iterator[str]:
    """Yield the names to try. The suffixes are random, so that nobody can take them first."""
    if name and not is_reserved(name):
        yield name
    for size in (2, 4) if name else ():
        suffix = f"-{secrets.token_hex(size)}"
        longer = f"{(name or '')[: 64 - len(suffix)].strip()}{suffix}"
        if is_valid(longer):
            yield longer
    yield f"player-{secrets.token_hex(8)}"
