"""Reads the whole leaderboard by keyset: pages, ranks and neighbours of a user.

The entries after a place are in three ranges of the index: equal score and `reached_at`, equal
score only, and other scores. Each range is read from its start, so the cost does not grow with the
depth of a page or with the number of equal scores.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

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
from ..models import BoardVersion, Standing, User, standing_order


class Place(NamedTuple):
    """A place in the order: the key of a standing."""

    score: float
    reached_at: datetime
    user_id: str


@dataclass(frozen=True)
class Entry:
    """One line of the leaderboard. `rank` is shared on a tie (1, 2, 2, 4), `position` is not."""

    rank: int
    position: int
    user_id: str
    username: str
    score: float
    reached_at: datetime


@dataclass(frozen=True)
class Last:
    """The last entry of a page: its place, and its rank and position at this board stamp."""

    place: Place
    rank: int
    position: int
    stamp: str


class Middle:
    """The highest score found in the lower half of the board.

    Positions up to this score are counted from the end of the board, which halves the time. It is
    only a hint: an outdated value costs time, not correctness.
    """

    def __init__(self) -> None:
        self.score = -math.inf

    def learn(self, score: float, position: int, total: int) -> None:
        """Update the hint with a score found at this position of `total`."""
        if position > total / 2:
            self.score = max(self.score, score)
        elif score <= self.score:
            self.score = -math.inf


@dataclass(frozen=True)
class View:
    """The board at one moment: its stamp, its number of entries, and the hint of its middle."""

    connection: Connection
    stamp: str
    total: int
    middle: Middle


def _ranges(forward: bool) -> list[ColumnElement[bool]]:
    """Return the conditions of the ranges after (or before) a place, nearest first."""
    tie: list[ColumnElement[bool]] = [Standing.hidden.is_(False)]
    ranges = []
    for column, descending in _COLUMNS:
        place = bindparam(column.key, type_=column.type)
        ranges.append(and_(*tie, column < place if descending == forward else column > place))
        tie.append(column == place)
    return ranges[::-1]


def _walk(condition: ColumnElement[bool], forward: bool) -> Executable:
    """Return the statement that reads a range, nearest entries first."""
    order = standing_order() if forward else _BACKWARD
    return _PLACES.where(condition).order_by(*order).limit(bindparam("most", type_=Integer()))


def _count(*conditions: ColumnElement[bool]) -> Executable:
    """Return the statement that counts the rows of each condition."""
    counts = (select(func.count()).select_from(Standing).where(each) for each in conditions)
    return select(*(each.scalar_subquery() for each in counts))


_COLUMNS = [(term.element, term.modifier is operators.desc_op) for term in standing_order()]
_BACKWARD = [column.asc() if descending else column.desc() for column, descending in _COLUMNS]
_PLACES = select(Standing.score, Standing.reached_at, Standing.user_id)
_VISIBLE = Standing.hidden.is_(False)

FIRST = (_walk(_VISIBLE, forward=True),)
AFTER = tuple(_walk(condition, forward=True) for condition in _ranges(forward=True))
BEFORE = tuple(_walk(condition, forward=False) for condition in _ranges(forward=False))
*_TIES, _HIGHER = _ranges(forward=False)
COUNT_TIES = _count(*_TIES)
COUNT_HIGHER = _count(_HIGHER)
COUNT_AFTER = _count(*_ranges(forward=True))
TOTAL = _count(_VISIBLE)
STAMP = select(BoardVersion.stamp)
_PLACE_OF = _PLACES.where(_VISIBLE, Standing.user_id == bindparam("of"))
_USER = select(User.user_id).where(User.user_id == bindparam("of"))
_NAMES = select(User.user_id, User.username).where(
    User.user_id.in_(bindparam("user_ids", expanding=True))
)


def stamp(connection: Connection) -> str:
    """Return the stamp of the board's version; every change makes a new one."""
    return connection.execute(STAMP).scalar_one()


def total(connection: Connection) -> int:
    """Return the number of entries on the board."""
    return int(connection.execute(TOTAL).scalar_one())


def page(view: View, limit: int, after: Last | None) -> tuple[list[Entry], Last | None]:
    """Return up to `limit` entries after `after`, or the first, and the last one if more follow.

    Counts no rows if the board has not changed since `after` was issued.
    """
    if after is None:
        places = _along(view.connection, FIRST, None, limit + 1)
        first = (1, 1)
    else:
        places = _along(view.connection, AFTER, after.place, limit + 1)
        first = _next(view, places, after)
    entries = _entries(view.connection, places[:limit], *first)
    if len(places) <= limit:
        return entries, None
    end = entries[-1]
    return entries, Last(places[limit - 1], end.rank, end.position, view.stamp)


def neighbours(view: View, user_id: str, around: int) -> tuple[Entry, list[Entry]]:
    """Return the user's entry, and a list of it with up to `around` entries on either side.

    Raises NotFound if the user does not exist or is not on the board.
    """
    row = view.connection.execute(_PLACE_OF, {"of": user_id}).one_or_none()
    if row is None:
        raise _not_there(view.connection, user_id)
    place = Place(*row)
    before = _along(view.connection, BEFORE, place, around)[::-1]
    places = [*before, place, *_along(view.connection, AFTER, place, around)]
    entries = _entries(view.connection, places, *_numbers(view, places[0]))
    return entries[len(before)], entries


def check_user(connection: Connection, user_id: str) -> None:
    """Raise NotFound if the user does not exist."""
    if connection.execute(_USER, {"of": user_id}).first() is None:
        raise NotFound("There is no user with this user_id.", "unknown_user")


def _not_there(connection: Connection, user_id: str) -> NotFound:
    check_user(connection, user_id)
    return NotFound("This user is not on the board.", "not_ranked")


def _along(
    connection: Connection, ranges: Sequence[Executable], place: Place | None, most: int
) -> list[Place]:
    """Return up to `most` places of these ranges, in their order."""
    given = place._asdict() if place else {}
    found: list[Place] = []
    for statement in ranges:
        if len(found) < most:
            rows = connection.execute(statement, {**given, "most": most - len(found)})
            found += [Place(*row) for row in rows]
    return found


def _next(view: View, places: Sequence[Place], last: Last) -> tuple[int, int]:
    """Return rank and position of the first of `places`, which directly follow `last`."""
    if not places:
        return 1, 1
    if last.stamp != view.stamp:
        return _numbers(view, places[0])
    position = last.position + 1
    return last.rank if places[0].score == last.place.score else position, position


def _numbers(view: View, place: Place) -> tuple[int, int]:
    """Return rank and position of a place, counted from the nearer end if known."""
    ties = _counted(view, COUNT_TIES, place)
    if place.score <= view.middle.score:
        position = view.total - _counted(view, COUNT_AFTER, place)
    else:
        position = 1 + _counted(view, COUNT_HIGHER, place) + ties
    view.middle.learn(place.score, position, view.total)
    return position - ties, position


def _counted(view: View, statement: Executable, place: Place) -> int:
    """Return the sum of all counts of a statement."""
    return sum(view.connection.execute(statement, place._asdict()).one())


def _entries(
    connection: Connection, places: Sequence[Place], rank: int, position: int
) -> list[Entry]:
    """Return the entries at these places; the first has this rank and position."""
    rows = connection.execute(_NAMES, {"user_ids": [place.user_id for place in places]})
    names = {row.user_id: row.username for row in rows}
    entries = []
    for number, place in enumerate(places):
        if number and place.score != places[number - 1].score:
            rank = position + number
        name = names[place.user_id]
        entries.append(
            Entry(rank, position + number, place.user_id, name, place.score, place.reached_at)
        )
    return entries
