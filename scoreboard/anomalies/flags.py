"""Read and write flags, named marks in the API: at most one per user, rule and hour."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from ..db import transactions
from ..models import Flag, User

MAX_RETURNED = 100


def hour_of(moment: datetime) -> datetime:
    """Return the start of the hour that contains `moment`."""
    return moment.replace(minute=0, second=0, microsecond=0)


def write(user_id: str, rule: str, detail: str, now: datetime) -> None:
    """Flag the user, unless the rule already did in this hour. Blocks for one transaction."""
    row = {"user_id": user_id, "rule": rule, "hour": hour_of(now)}

    def insert(connection: Connection) -> None:
        statement = transactions.insert(Flag, connection.dialect.name).on_conflict_do_nothing()
        connection.execute(statement, {**row, "detail": detail[:200], "created_at": now})

    transactions.transaction(insert)


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
