"""Read and write flags, named marks in the API: at most one per user, rule and hour."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select

from ..db import transactions
from ..models import Flag, User
from ..webhooks import outbox

MAX_RETURNED, MAX_PER_USER = 100, 20


def hour_of(moment: datetime) -> datetime:
    """Return the start of the hour that contains `moment`."""
    return moment.replace(minute=0, second=0, microsecond=0)


def write(user_id: str, rule: str, detail: str, now: datetime) -> None:
    """Flag the user, unless the rule already did in this hour. Blocks for one transaction.

    Stores an event for the webhooks that ask for it; it has no name of a hidden user.
    """
    row = {"user_id": user_id, "rule": rule, "hour": hour_of(now)}

    def insert(connection: Connection) -> None:
        statement = transactions.insert(Flag, connection.dialect.name).on_conflict_do_nothing()
        values = {**row, "detail": detail[:200], "created_at": now}
        if connection.execute(statement.returning(Flag.user_id), values).first():
            _store_event(connection, values)

    transactions.transaction(insert)


def _store_event(connection: Connection, flag: dict[str, Any]) -> None:
    webhooks = outbox.subscriptions(connection, lock=True)
    if not outbox.wants(webhooks, "user_flagged"):
        return
    user = select(User.username, User.hidden_at).where(User.user_id == flag["user_id"])
    username, hidden_at = connection.execute(user).one()
    data = {
        "user_id": flag["user_id"],
        "username": None if hidden_at else username,
        "rule": flag["rule"],
        "detail": flag["detail"],
    }
    outbox.add(connection, webhooks, "user_flagged", flag["created_at"], data)


def newest(user_id: str | None = None) -> Sequence[Any]:
    """Return the newest flags of all users or of one, at most MAX_RETURNED, newest first.

    Each row has the user's name, `hidden_at` and `suspended_at`. Blocks for one query.
    """
    user = (User.username, User.hidden_at, User.suspended_at)
    statement = (
        select(Flag.user_id, *user, Flag.rule, Flag.hour, Flag.detail, Flag.created_at)
        .join(User, User.user_id == Flag.user_id)
        .order_by(Flag.created_at.desc(), Flag.user_id, Flag.rule)
        .limit(MAX_RETURNED)
    )
    if user_id is not None:
        statement = statement.where(Flag.user_id == user_id)
    return transactions.read(lambda connection: connection.execute(statement).all())


def of_users(connection: Connection, user_ids: Collection[str]) -> dict[str, list[Any]]:
    """Return the newest flags of each of these users, at most MAX_PER_USER, by user id.

    A user without flags is left out. Executes one query.
    """
    order = (Flag.created_at.desc(), Flag.rule)
    place = func.row_number().over(partition_by=Flag.user_id, order_by=order).label("place")
    columns = (Flag.user_id, Flag.rule, Flag.detail, Flag.created_at)
    ranked = select(*columns, place).where(Flag.user_id.in_(user_ids)).subquery()
    newest = select(ranked).where(ranked.c.place <= MAX_PER_USER)
    by_user: defaultdict[str, list[Any]] = defaultdict(list)
    for row in connection.execute(newest.order_by(ranked.c.user_id, ranked.c.place)):
        by_user[row.user_id].append(row)
    return dict(by_user)
