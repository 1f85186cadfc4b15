"""Revoke tokens in the database, and look up which tokens it refuses.

Their live connections are closed by `end_sessions` in `realtime/connections.py`.
"""

import contextlib
import functools
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from flask import current_app
from sqlalchemy import Connection, Double, Executable, cast, delete, extract, null, select

from ..concurrency.runtime import result_of
from ..db import transactions
from ..errors import NotAuthenticated, Overloaded, UnknownAccount
from ..models import RevokedToken, User
from ..services import services
from .tokens import INVALID, PUBLIC_VIEWER, Claims, lifetime_of, read, token_ids, user_token_id

# Tokens per query.
MAX_BATCH_SIZE = 200
# Revocations are kept this long after the token expires: one deleted while the clock was ahead
# would make the token valid again when the clock is set back.
RETENTION = timedelta(days=1)
FOREVER = datetime(9999, 12, 31, tzinfo=UTC)


class _Revocation(NamedTuple):
    """Until when issued tokens are revoked, in seconds, and the sign-in that is not."""

    until: float
    kept: str | None


def current_roles(
    tokens: Sequence[Claims], connection: Connection | None = None
) -> list[str | NotAuthenticated]:
    """Return the current role of each token's user, or the error if it is refused. One query."""
    dialect = (connection or services().database.engine).dialect.name
    ids = [token_ids(claims) for claims in tokens]
    parameters = {
        "user_ids": transactions.any_of({claims["sub"] for claims in tokens}, dialect),
        "token_ids": transactions.any_of({each for group in ids for each in group}, dialect),
    }
    execute: Any = connection.execute if connection else transactions.query
    users: dict[str, tuple[str, Any]] = {}
    revoked: dict[str, _Revocation] = {}
    for row_id, role, moment, kept in execute(_users_and_revocations(dialect), parameters):
        if role is None:
            until = moment.timestamp() if isinstance(moment, datetime) else moment
            revoked[row_id] = _Revocation(until, kept)
        else:
            users[row_id] = role, moment
    pairs = zip(tokens, ids, strict=True)
    return [_role(claims, group, users.get(claims["sub"]), revoked) for claims, group in pairs]


@functools.cache
def _users_and_revocations(dialect: str) -> Executable:
    """Return one query of two tables.

    Its rows are (id, role, suspended_at, None) and (id, None, revoked_at, kept).
    """

    def moment(column: Any) -> Any:
        # In seconds on PostgreSQL: outside a transaction, the date style is the database's.
        return column if dialect == "sqlite" else cast(extract("epoch", column), Double)

    users = select(User.user_id, User.role, moment(User.suspended_at), null())
    revoked = select(
        RevokedToken.token_id, null(), moment(RevokedToken.revoked_at), RevokedToken.kept
    )
    of_users = transactions.is_any(User.user_id, "user_ids", dialect)
    is_not_erased = User.username.is_not(None)
    of_tokens = transactions.is_any(RevokedToken.token_id, "token_ids", dialect)
    return users.where(of_users, is_not_erased).union_all(revoked.where(of_tokens))


def _role(
    claims: Claims,
    ids: Sequence[str],
    user: tuple[str, Any] | None,
    revoked: Mapping[str, _Revocation],
) -> str | NotAuthenticated:
    user_id, issued_at = claims["sub"], claims["iat"]
    if user is None and user_id != PUBLIC_VIEWER:
        return UnknownAccount(INVALID)
    for each in filter(revoked.__contains__, ids):
        # All tokens of a user are revoked up to a time; a `jti` or family, for all time.
        until, kept = revoked[each]
        if each != user_token_id(user_id) or (issued_at <= until and kept not in ids):
            return NotAuthenticated("The token was revoked: sign in again.", "token_revoked")
    role, suspended_at = user or ("viewer", None)
    if suspended_at is not None:
        return NotAuthenticated("This account is suspended.", "account_suspended")
    return role


def current_role(connection: Connection, claims: Claims) -> str:
    """Return the user's current role. Raises NotAuthenticated if the token is refused."""
    return result_of(current_roles([claims], connection)[0])


def refused(tokens: Iterable[str]) -> dict[str, NotAuthenticated]:
    """Return the valid access tokens that the database refuses, each with the error. Blocks."""
    claims: dict[str, Claims] = {}
    for token in tokens:
        with contextlib.suppress(NotAuthenticated, Overloaded):
            claims[token] = read(token, "access")
    roles = zip(claims, current_roles(list(claims.values())), strict=True)
    return {token: role for token, role in roles if isinstance(role, NotAuthenticated)}


def latest_expiry(claims: Claims) -> datetime:
    """Return when all tokens of this token's sign-in will have expired."""
    if claims["type"] == "refresh":
        lifetime = lifetime_of(claims)
    else:
        lifetime = current_app.config["GUEST_REFRESH_TOKEN_EXPIRES"]
    expiry = max(claims["exp"], time.time() + lifetime.total_seconds())
    return datetime.fromtimestamp(min(expiry, FOREVER.timestamp()), UTC)


def revoke(connection: Connection, token_id: str, expires_at: datetime) -> datetime | None:
    """Revoke this token or family. Return when it was revoked before, None if it was not.

    `expires_at` is when its tokens expire: the revocation is deleted RETENTION after that.
    """
    now = datetime.now(UTC)
    connection.execute(delete(RevokedToken).where(RevokedToken.expires_at < now - RETENTION))
    statement = transactions.insert(RevokedToken, connection.dialect.name)
    inserted = statement.on_conflict_do_nothing().returning(RevokedToken.token_id)
    row = {"token_id": token_id, "revoked_at": now, "expires_at": expires_at}
    if connection.execute(inserted, row).first():
        return None
    earlier = select(RevokedToken.revoked_at).where(RevokedToken.token_id == token_id)
    return connection.execute(earlier).scalar_one()


def revoke_user(connection: Connection, user_id: str, kept: str | None = None) -> None:
    """Revoke all of the user's tokens issued until now, except those of the sign-in `kept`.

    The revocation is kept for good, since tokens minted elsewhere can have any lifetime.
    """
    values = {"revoked_at": datetime.now(UTC), "expires_at": FOREVER, "kept": kept}
    statement = transactions.insert(RevokedToken, connection.dialect.name)
    row = {"token_id": user_token_id(user_id), **values}
    updated = statement.on_conflict_do_update(index_elements=[RevokedToken.token_id], set_=values)
    connection.execute(updated, row)
