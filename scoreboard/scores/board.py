"""The order of the players, read from the standings."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from .. import database
from ..fields import number
from ..models import BoardVersion, Score, Standing, standing_order
from ..realtime.feed import Batch
from .schemas import entries_schema

TOP = 10
# Of more missed updates than this, only the newest are told one by one.
MOST_MISSED = 10_000


@dataclass(frozen=True)
class Entry:
    """One line of the board."""

    user_id: str
    score: float


# Built once: the statement never changes, only what it finds.
TOP_STATEMENT = (
    select(Standing.user_id, Standing.score)
    .where(Standing.hidden.is_(False))
    .order_by(*standing_order())
    .limit(TOP)
)


def top(connection: Connection) -> tuple[Entry, ...]:
    """Return the top 10, highest first, in one walk along the index."""
    return tuple(Entry(user_id, score) for user_id, score in connection.execute(TOP_STATEMENT))


def top10(entries: Sequence[Entry]) -> dict[str, Any]:
    """Return the top 10 as the endpoint and the messages tell it."""
    return {"top_10_scores": entries_schema.dump(entries)}


def score_update(user_id: str, score: float) -> dict[str, Any]:
    """Return an accepted update as the messages tell it; `score` is the one after it."""
    return {"user_id": user_id, "new_score": number(score)}


def since(version: int | None) -> Batch | None:
    """Return what was committed after this version as one batch, or None if nothing was.

    Without a version, return the present board and no updates.
    """
    return database.read(lambda connection: _since(connection, version))


def _since(connection: Connection, version: int | None) -> Batch | None:
    present = connection.execute(select(BoardVersion.version)).scalar_one()
    if version == present:
        return None
    updates = [] if version is None else _updates_after(connection, version)
    return Batch(present, updates, top10(top(connection)))


def _updates_after(connection: Connection, version: int) -> list[dict[str, Any]]:
    newest_first = (
        select(Score.user_id, Score.score)
        .where(Score.version > version)
        .order_by(Score.version.desc(), Score.created_at.desc())
        .limit(MOST_MISSED)
    )
    rows = connection.execute(newest_first).all()
    return [score_update(user_id, score) for user_id, score in reversed(rows)]
