"""The order of the players, read from the standings."""

from dataclasses import dataclass

from sqlalchemy import Connection, select

from ..models import Standing, standing_order

TOP = 10


@dataclass(frozen=True)
class Entry:
    """One line of the board."""

    user_id: str
    score: float


# Built once: the statement never changes, only what it finds.
TOP_STATEMENT = select(Standing.user_id, Standing.score).order_by(*standing_order()).limit(TOP)


def top(connection: Connection) -> tuple[Entry, ...]:
    """Return the top 10, highest first, in one walk along the index."""
    return tuple(Entry(user_id, score) for user_id, score in connection.execute(TOP_STATEMENT))
