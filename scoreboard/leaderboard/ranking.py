"""Read the leaderboard by keyset pagination: pages, ranks and neighbours of a user.

The standings after a key are in three ranges of the index: equal score and `reached_at`, equal
score only, and other scores. Each range is read from its start, so the cost does not grow with the
depth of a page or with the number of equal scores. The order itself is `models.standing_order`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Executable,
    Integer,
    and_,
    bindparam,
    func,
    select,
)
from sqlalchemy.sql import operators

from ..errors import NotFound
from ..http.fields import moment, number
from ..models import BoardVersion, Standing, User, standing_order


class SortKey(NamedTuple):
    """The key by which a standing is sorted."""

    score: float
    reached_at: datetime
    user_id: str


# One line of the leaderboard as JSON. A tie shares the rank (1, 2, 2, 4) but not the position.
Entry = dict[str, Any]


@dataclass(frozen=True)
class PageEnd:
    """The last entry of a page: its key, and its rank and position at this board stamp."""

    key: SortKey
    rank: int
    position: int
    stamp: str


@dataclass(frozen=True)
class Snapshot:
    """The board at one moment. `totals` caches the number of entries at one stamp."""

    connection: Connection
    stamp: str
    totals: dict[str, int]

    def total(self) -> int:
        """Return the number of entries; counts them unless they were counted at this stamp."""
        if self.stamp not in self.totals:
            self.totals.clear()
            self.totals[self.stamp] = int(self.connection.execute(TOTAL).scalar_one())
        return self.totals[self.stamp]


_COLUMNS = [(term.element, term.modifier is operators.desc_op) for term in standing_order()]
_BACKWARD = [column.asc() if descending else column.desc() for column, descending in _COLUMNS]
_KEYS = select(Standing.score, Standing.reached_at, Standing.user_id)
_VISIBLE = Standing.hidden.is_(False)


def _ranges(forward: bool) -> list[ColumnElement[bool]]:
    """Return the conditions of the ranges after (or before) a key, nearest first."""
    tie: list[ColumnElement[bool]] = [_VISIBLE]
    ranges = []
    for column, descending in _COLUMNS:
        value = bindparam(column.key, type_=column.type)
        ranges.append(and_(*tie, column < value if descending == forward else column > value))
        tie.append(column == value)
    return ranges[::-1]


def _scan(condition: ColumnElement[bool], forward: bool) -> Executable:
    """Return the statement that reads a range, nearest keys first."""
    order = standing_order() if forward else _BACKWARD
    return _KEYS.where(condition).order_by(*order).limit(bindparam("limit", type_=Integer()))


def _count(*conditions: ColumnElement[bool]) -> Executable:
    """Return the statement that counts the rows of each condition."""
    counts = (select(func.count()).select_from(Standing).where(each) for each in conditions)
    return select(*(each.scalar_subquery() for each in counts))


FIRST = [_scan(_VISIBLE, forward=True)]
AFTER = [_scan(condition, forward=True) for condition in _ranges(forward=True)]
BEFORE = [_scan(condition, forward=False) for condition in _ranges(forward=False)]
COUNT_BEFORE = _count(*_ranges(forward=False))
TOTAL = _count(_VISIBLE)
_USERNAMES = select(User.user_id, User.username).where(
    User.user_id.in_(bindparam("user_ids", expanding=True))
)


def stamp(connection: Connection) -> str:
    """Return the stamp of the board's version; every change makes a new one."""
    return connection.execute(select(BoardVersion.stamp)).scalar_one()


def page(
    snapshot: Snapshot, limit: int, after: PageEnd | None
) -> tuple[list[Entry], PageEnd | None]:
    """Return up to `limit` entries after `after`, or the first, and the end if more follow.

    Counts no rows if the board has not changed since `after` was issued.
    """
    connection, rank, position = snapshot.connection, 1, 1
    if after is None:
        keys = _read(connection, FIRST, None, limit + 1)
    else:
        keys = _read(connection, AFTER, after.key, limit + 1)
        if keys and after.stamp != snapshot.stamp:
            rank, position = rank_of(connection, keys[0])
        elif keys:
            position = after.position + 1
            rank = after.rank if keys[0].score == after.key.score else position
    entries = _entries(connection, keys[:limit], rank, position)
    if len(keys) <= limit:
        return entries, None
    end = entries[-1]
    return entries, PageEnd(keys[limit - 1], end["rank"], end["position"], snapshot.stamp)


def neighbours(connection: Connection, user_id: str, around: int) -> tuple[Entry, list[Entry]]:
    """Return the user's entry, and a list of it with up to `around` entries on either side.

    Raises NotFound if the user does not exist or is not on the board.
    """
    row = connection.execute(_KEYS.where(_VISIBLE, Standing.user_id == user_id)).one_or_none()
    if row is None:
        check_user(connection, user_id)
        raise NotFound("This user is not on the board.", "not_ranked")
    key = SortKey(*row)
    before = _read(connection, BEFORE, key, around)[::-1]
    keys = [*before, key, *_read(connection, AFTER, key, around)]
    entries = _entries(connection, keys, *rank_of(connection, keys[0]))
    return entries[len(before)], entries


def check_user(connection: Connection, user_id: str) -> None:
    """Raise NotFound if the user does not exist."""
    if connection.execute(select(User.user_id).where(User.user_id == user_id)).first() is None:
        raise NotFound("There is no user with this user_id.", "unknown_user")


def rank_of(connection: Connection, key: SortKey) -> tuple[int, int]:
    """Return the rank and the position of a key, by counting the keys before it in the index."""
    *ties, higher = connection.execute(COUNT_BEFORE, key._asdict()).one()
    return higher + 1, higher + sum(ties) + 1


def _read(
    connection: Connection, ranges: Sequence[Executable], key: SortKey | None, limit: int
) -> list[SortKey]:
    """Return up to `limit` keys of these ranges, in their order."""
    parameters = key._asdict() if key else {}
    found: list[SortKey] = []
    for statement in ranges:
        if len(found) < limit:
            rows = connection.execute(statement, {**parameters, "limit": limit - len(found)})
            found += [SortKey(*row) for row in rows]
    return found


def _entries(
    connection: Connection, keys: Sequence[SortKey], rank: int, position: int
) -> list[Entry]:
    """Return the entries with these keys; the first has this rank and position."""
    rows = connection.execute(_USERNAMES, {"user_ids": [key.user_id for key in keys]})
    usernames = {row.user_id: row.username for row in rows}
    entries = []
    for index, key in enumerate(keys):
        if index and key.score != keys[index - 1].score:
            rank = position + index
        entries.append(
            {
                "rank": rank,
                "position": position + index,
                "user_id": key.user_id,
                "username": usernames[key.user_id],
                "score": number(key.score),
                "reached_at": moment(key.reached_at),
            }
        )
    return entries
