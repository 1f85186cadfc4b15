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

from ..auth.names import name_key
from ..errors import NotFound
from ..http.fields import moment, number
from ..models import (
    Board,
    BoardVersion,
    Standing,
    User,
    reversed_standing_order,
    standing_order,
)

# Entries that a search returns: the rank of each is counted.
MAX_FOUND = 20


class SortKey(NamedTuple):
    """The key by which a standing is sorted."""

    rank_key: float
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


Totals = dict[tuple[str, int], tuple[str, int]]


@dataclass(frozen=True)
class Snapshot:
    """A season of a board at one moment, or the image of it that a frozen board shows.

    `sign` is the factor between scores and rank keys. `totals` caches the number of entries, by
    board and season, with the stamp at which they were counted.
    """

    connection: Connection
    board_id: str
    season: int
    sign: int
    stamp: str
    totals: Totals
    is_image: bool = False

    @property
    def stored_season(self) -> int:
        """The season under which the standings are stored; see `models.Standing`."""
        return -self.season if self.is_image else self.season

    def total(self) -> int:
        """Return the number of entries; counts them unless they were counted at this stamp."""
        key = self.board_id, self.stored_season
        stamp, total = self.totals.get(key, ("", 0))
        if stamp != self.stamp:
            total = int(self.execute(TOTAL).scalar_one())
            self.totals[key] = self.stamp, total
        return total

    def execute(self, statement: Executable, **parameters: Any) -> Any:
        """Execute a statement on the standings of this season."""
        where = {"board_id": self.board_id, "season": self.stored_season}
        return self.connection.execute(statement, {**where, **parameters})


_COLUMNS = [(term.element, term.modifier is operators.desc_op) for term in standing_order()]
_KEYS = select(Standing.rank_key, Standing.reached_at, Standing.user_id)
_VISIBLE = and_(
    Standing.board_id == bindparam("board_id"),
    Standing.season == bindparam("season"),
    Standing.hidden.is_(False),
)


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
    order = standing_order() if forward else reversed_standing_order()
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
_OF_USER = _KEYS.where(_VISIBLE, Standing.user_id == bindparam("user_id"))
_OF_USERS = _KEYS.where(
    _VISIBLE, Standing.user_id.in_(bindparam("user_ids", expanding=True))
).order_by(*standing_order())
_VIEW = (
    select(BoardVersion.stamp, BoardVersion.shown, BoardVersion.season, Board.frozen)
    .join(Board, Board.board_id == BoardVersion.board_id)
    .where(BoardVersion.board_id == bindparam("board_id"))
)
_ORDER = select(Board.order).where(Board.board_id == bindparam("board_id"))
_USERNAMES = select(User.user_id, User.username).where(
    User.user_id.in_(bindparam("user_ids", expanding=True))
)


class View(NamedTuple):
    """What a caller sees of a board: its stamp, its season, and whether that is an image.

    Every change of what the caller sees makes a new stamp.
    """

    stamp: str
    season: int
    is_image: bool


def view(connection: Connection, board_id: str, live: bool = False) -> View:
    """Return what the public sees of a board, or the truth if `live`."""
    found = connection.execute(_VIEW, {"board_id": board_id}).one()
    if found.frozen and not live:
        return View(found.shown, found.frozen["season"], True)
    return View(found.stamp, found.season, False)


def sign(connection: Connection, board_id: str) -> int:
    """Return the factor between the scores and the rank keys of a board in this snapshot."""
    return -1 if connection.execute(_ORDER, {"board_id": board_id}).scalar_one() == "asc" else 1


def page(
    snapshot: Snapshot, limit: int, after: PageEnd | None
) -> tuple[list[Entry], PageEnd | None]:
    """Return up to `limit` entries after `after`, or the first, and the end if more follow.

    Counts no rows if the board has not changed since `after` was issued.
    """
    rank, position = 1, 1
    if after is None:
        keys = _read(snapshot, FIRST, None, limit + 1)
    else:
        keys = _read(snapshot, AFTER, after.key, limit + 1)
        if keys and after.stamp != snapshot.stamp:
            rank, position = rank_of(snapshot, keys[0])
        elif keys:
            position = after.position + 1
            rank = after.rank if keys[0].rank_key == after.key.rank_key else position
    entries = _entries(snapshot, keys[:limit], rank, position)
    if len(keys) <= limit:
        return entries, None
    end = entries[-1]
    return entries, PageEnd(keys[limit - 1], end["rank"], end["position"], snapshot.stamp)


def of_users(snapshot: Snapshot, user_ids: Sequence[str]) -> list[Entry]:
    """Return the entries of these users, ranked among themselves. Others are left out."""
    keys = [SortKey(*row) for row in snapshot.execute(_OF_USERS, user_ids=list(user_ids))]
    return _entries(snapshot, keys, 1, 1)


def search(snapshot: Snapshot, text: str) -> list[Entry]:
    """Return the entries of the first `MAX_FOUND` users with this text in their name.

    The text is compared by `name_key`. Scans the names of all users: with 100,000 users a search
    takes about 0.1 s.
    """
    # A text without visible characters has no key: names do not contain it.
    part = name_key(text) or text
    # By IN, databases scan the names and then read the standings of the matches. By a join, SQLite
    # reads the name of each standing: 10 to 30 times as long.
    named = select(User.user_id).where(User.name_key.contains(part, autoescape=True))
    found = _KEYS.where(_VISIBLE, Standing.user_id.in_(named))
    keys = [
        SortKey(*row)
        for row in snapshot.execute(found.order_by(*standing_order()).limit(MAX_FOUND))
    ]
    return [_entries(snapshot, [key], *rank_of(snapshot, key))[0] for key in keys]


def neighbours(snapshot: Snapshot, user_id: str, around: int) -> tuple[Entry, list[Entry]]:
    """Return the user's entry, and a list of it with up to `around` entries on either side.

    Raises NotFound if the user does not exist or is not on the board.
    """
    row = snapshot.execute(_OF_USER, user_id=user_id).one_or_none()
    if row is None:
        check_user(snapshot.connection, user_id)
        raise NotFound("This user is not on the board.", "not_ranked")
    key = SortKey(*row)
    before = _read(snapshot, BEFORE, key, around)[::-1]
    keys = [*before, key, *_read(snapshot, AFTER, key, around)]
    entries = _entries(snapshot, keys, *rank_of(snapshot, keys[0]))
    return entries[len(before)], entries


def check_user(connection: Connection, user_id: str) -> None:
    """Raise NotFound if the user does not exist."""
    exists = select(User.user_id).where(User.user_id == user_id, User.username.is_not(None))
    if connection.execute(exists).first() is None:
        raise NotFound("There is no user with this user_id.", "unknown_user")


def rank_of(snapshot: Snapshot, key: SortKey) -> tuple[int, int]:
    """Return the rank and the position of a key, by counting the keys before it in the index."""
    *ties, higher = snapshot.execute(COUNT_BEFORE, **key._asdict()).one()
    return higher + 1, higher + sum(ties) + 1


def _read(
    snapshot: Snapshot, ranges: Sequence[Executable], key: SortKey | None, limit: int
) -> list[SortKey]:
    """Return up to `limit` keys of these ranges, in their order."""
    parameters = key._asdict() if key else {}
    found: list[SortKey] = []
    for statement in ranges:
        if len(found) < limit:
            rows = snapshot.execute(statement, **parameters, limit=limit - len(found))
            found += [SortKey(*row) for row in rows]
    return found


def _entries(snapshot: Snapshot, keys: Sequence[SortKey], rank: int, position: int) -> list[Entry]:
    """Return the entries with these keys; the first has this rank and position."""
    rows = snapshot.connection.execute(_USERNAMES, {"user_ids": [key.user_id for key in keys]})
    usernames = {row.user_id: row.username for row in rows}
    entries = []
    for index, key in enumerate(keys):
        if index and key.rank_key != keys[index - 1].rank_key:
            rank = position + index
        entries.append(
            {
                "rank": rank,
                "position": position + index,
                "user_id": key.user_id,
                "username": usernames[key.user_id],
                "score": number(snapshot.sign * key.rank_key),
                "reached_at": moment(key.reached_at),
            }
        )
    return entries
