"""Moderate: hide and suspend users, set their roles, end their sessions, void scores.

Each action takes effect at once, reaches connected clients and is in the audit log. It
blocks for its transactions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flask import current_app
from sqlalchemy import Connection, update

from ..anomalies import flags
from ..auth import accounts, tokens
from ..auth.service import json_object
from ..db import transactions as database
from ..errors import NotFound, NotPermitted
from ..http.request import Origin
from ..models import Standing, User
from ..observability import audit
from ..scores import history
from ..scores.policy import POLICIES
from ..services import services
from .schemas import (
    marks_query_schema,
    role_schema,
    score_reference_schema,
    user_reference_schema,
    void_schema,
)


@dataclass(frozen=True)
class Moderator:
    """A moderator and the origin of its request. `user_id` is None on the command line."""

    user_id: str | None
    origin: Origin


def moderator(token: str | None, origin: Origin) -> Moderator:
    """Return the token's moderator. Raises NotAuthenticated, or NotPermitted unless an admin."""
    caller = tokens.authenticate(token)
    if not caller.may("users:manage"):
        raise NotPermitted("This needs the token of an admin.")
    return Moderator(caller.user_id, origin)


def marks(by: Moderator, query: dict[str, str]) -> Sequence[Any]:
    """Return the newest anomaly flags, at most 100, of the query's `user_id` if it is given."""
    return flags.newest(marks_query_schema.load(query).get("user_id"))


def hide(by: Moderator, user_id: str) -> accounts.Account:
    """Hide the user from the board; its standing is kept. Raises NotFound."""
    return _act(by, "hide", user_id, lambda known: _show(known, hidden_at=datetime.now(UTC)))


def restore(by: Moderator, user_id: str) -> accounts.Account:
    """Put the hidden user back on the board, with its standing. Raises NotFound."""
    return _act(by, "restore", user_id, lambda known: _show(known, hidden_at=None))


def set_role(by: Moderator, user_id: str, body: object) -> accounts.Account:
    """Set the user's role to `role` in the body, from the next request on. Raises NotFound."""
    role = role_schema.load(json_object(body))["role"]
    return _act(by, f"role {role}", user_id, lambda known: accounts.set_role(known, role))


def end_sessions(by: Moderator, user_id: str) -> accounts.Account:
    """Revoke all of the user's tokens issued until now. Raises NotFound."""
    return _act(by, "end-sessions", user_id, _end_sessions)


def suspend(by: Moderator, user_id: str) -> accounts.Account:
    """Suspend the user: refuse its requests and end all of its sessions. Raises NotFound."""
    values = {"suspended_at": datetime.now(UTC)}
    return _act(by, "suspend", user_id, lambda known: _end_sessions(known, values))


def reinstate(by: Moderator, user_id: str) -> accounts.Account:
    """Allow a suspended user to sign in again; its old tokens stay revoked. Raises NotFound."""
    return _act(
        by,
        "reinstate",
        user_id,
        lambda known: database.transaction(lambda c: _set(c, known, {"suspended_at": None})),
    )


def void(by: Moderator, score_id: str, body: object) -> history.VoidedScore:
    """Void a score, for the `reason` in the body; the user's other scores then set its standing.

    Blocks for seconds if the user's history is long, yielding to the loop. Raises NotFound, or
    Conflict if the score is voided already or cannot be.
    """
    known = score_reference_schema.load({"score_id": score_id})["score_id"]
    reason = void_schema.load(json_object(body))["reason"]
    policy = POLICIES[current_app.config["SCORE_POLICY"]]
    with services().void_lock:
        voided = history.void(known, by.user_id, reason, policy, services().ledger.change)
    whom = {"user_id": voided.user_id, "score_id": known}
    audit.moderation(by.origin, by.user_id, "void", whom, reason)
    return voided


def _act(
    by: Moderator, act: str, user_id: str, change: Callable[[str], object]
) -> accounts.Account:
    """Apply `change` to the user with this id, log it and return the updated user."""
    known: str = user_reference_schema.load({"user_id": user_id})["user_id"]
    _account(known)
    change(known)
    audit.moderation(by.origin, by.user_id, act, {"user_id": known}, reason=None)
    services().metrics.account_events.labels(act.partition(" ")[0], "accepted").inc()
    return _account(known)


def _account(user_id: str) -> accounts.Account:
    account = accounts.by_id(user_id)
    if account is None:
        raise NotFound("There is no user with this user_id.", "unknown_user")
    return account


def _show(user_id: str, hidden_at: datetime | None) -> None:
    def write(connection: Connection) -> None:
        _set(connection, user_id, {"hidden_at": hidden_at})
        standing = update(Standing).where(Standing.user_id == user_id)
        connection.execute(standing.values(hidden=hidden_at is not None))

    services().ledger.change(write)


def _end_sessions(user_id: str, values: dict[str, Any] | None = None) -> None:
    """Set `values` and revoke all tokens issued until now; then close their connections."""

    def write(connection: Connection) -> None:
        if values:
            _set(connection, user_id, values)
        # Tokens minted elsewhere can have any lifetime: keep this revocation for good.
        tokens.revoke_all(connection, user_id, datetime.fromtimestamp(tokens.LAST_MOMENT, UTC))

    database.transaction(write)
    services().session_revoked(tokens.user_token_id(user_id), datetime.now(UTC))


def _set(connection: Connection, user_id: str, values: dict[str, Any]) -> None:
    connection.execute(update(User).where(User.user_id == user_id).values(values))
