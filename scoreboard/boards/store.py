"""Boards in the database: read those of a ledger, and record changes of season and state."""

import functools
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    Connection,
    RowMapping,
    and_,
    bindparam,
    func,
    insert,
    or_,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.orm import aliased

from ..db import transactions
from ..db.transactions import LedgerVersion, moment_of
from ..errors import FreezeDue
from ..http.fields import BOARD_ID
from ..models import (
    DEFAULT_TITLE,
    MAIN,
    Board,
    BoardVersion,
    Score,
    Season,
    Standing,
)
from ..webhooks import outbox
from ..webhooks.outbox import Subscriptions
from .board import BoardState, Frozen, at_time, next_season
from .images import take_image, touch_shown
from .seasons import Reset
from .versions import change_settings, new_settings_version, touch

_BOARDS = (
    select(Board.__table__, Season.number, Season.starts_at, Season.ends_at, BoardVersion.shown)
    .join(BoardVersion, BoardVersion.board_id == Board.board_id)
    .join(Season, and_(Season.board_id == Board.board_id, Season.number == BoardVersion.season))
)
_OF_LEDGER = _BOARDS.where(
    or_(Board.board_id == bindparam("ledger_id"), Board.source == bindparam("ledger_id")),
    Board.archived_at.is_(None),
).order_by(Board.source.is_not(None), Board.board_id)
# The boards of the ledger of a board, which may be archived, with the version of their settings.
_LEDGER = aliased(BoardVersion)
_LEDGER_ID = select(func.coalesce(Board.source, Board.board_id)).where(
    Board.board_id == bindparam("of_board")
)
_WITH_BOARD = (
    _BOARDS.add_columns(_LEDGER.settings_version)
    .join(_LEDGER, or_(Board.board_id == _LEDGER.board_id, Board.source == _LEDGER.board_id))
    .where(
        _LEDGER.board_id == _LEDGER_ID.correlate(None).scalar_subquery(),
        Board.archived_at.is_(None),
    )
    .order_by(Board.source.is_not(None), Board.board_id)
)
_PLAYERS = (
    select(func.count())
    .select_from(Standing)
    .where(
        Standing.board_id == bindparam("board_id"),
        Standing.season == bindparam("season"),
        Standing.hidden.is_(False),
    )
)

_LOCK_VERSIONS = text(f"LOCK TABLE {BoardVersion.__tablename__} IN SHARE ROW EXCLUSIVE MODE")

MAX_SCORE_ID = 2**63 - 1


@dataclass(frozen=True)
class LedgerBoards:
    """The boards of a ledger at one settings version: the ledger first. Empty if archived.

    `webhooks` are what the webhooks ask for: a change of one changes all settings versions.
    """

    settings_version: int
    boards: Sequence[BoardState]
    webhooks: Subscriptions = ()

    @functools.cached_property
    def next_change_at(self) -> datetime | None:
        """The first time at which a season or the state of one of the boards changes, or None."""
        changes = (board.next_change_at for board in self.boards)
        return min(filter(None, changes), default=None)

    @property
    def ledger(self) -> BoardState:
        """The board that takes the updates."""
        return self.boards[0]


class Current(NamedTuple):
    """The boards of a ledger in a transaction, its clock, and the ids of the boards that changed.

    The clock is in microseconds since the epoch. `before` are the boards at the last commit.
    """

    boards: LedgerBoards
    clock: int
    changed: frozenset[str]
    before: Sequence[BoardState]


def changed(before: LedgerBoards, after: LedgerBoards) -> frozenset[str]:
    """Return the ids of the boards whose settings, state or season is not as before."""
    if after is before:
        return frozenset()
    known = set(before.boards)
    return frozenset(board.board_id for board in after.boards if board not in known)


class BoardStore:
    """Reads boards. `main_settings` are the fields of `main` that the application's settings set.

    `main_title` is the title of `main` until it gets its own.

    Methods with a `connection` are called within a transaction, in any thread.
    """

    def __init__(self, main_settings: Mapping[str, Any], main_title: str = DEFAULT_TITLE) -> None:
        self._main_settings = main_settings
        self._main_title = main_title

    def ledger_boards(self, connection: Connection, ledger_id: str) -> list[BoardState]:
        """Return the boards of a ledger that are not archived, the ledger first."""
        rows = connection.execute(_OF_LEDGER, {"ledger_id": ledger_id}).mappings()
        return [self._state(row) for row in rows]

    def boards_with(self, board_id: str) -> LedgerBoards | None:
        """Return the boards of the ledger of this board; None without any. Blocks for a read.

        Not within a transaction. One of its own sets the form in which the database sends times.
        """
        if not BOARD_ID.fullmatch(board_id):
            return None  # Postgres refuses some characters
        parameters = {"of_board": board_id}

        def read(connection: Connection) -> LedgerBoards | None:
            rows = connection.execute(_WITH_BOARD, parameters).mappings().all()
            if not rows:
                return None
            boards, webhooks = [self._state(row) for row in rows], outbox.subscriptions(connection)
            return LedgerBoards(rows[0]["settings_version"], boards, webhooks)

        return transactions.read(read)

    def reloaded(
        self, connection: Connection, ledger_id: str, before: LedgerBoards
    ) -> LedgerBoards:
        """Return the boards of a ledger after a change of their settings; `before` if unchanged.

        `change_settings` has changed the settings version.
        """
        statement = select(BoardVersion.settings_version).where(BoardVersion.board_id == ledger_id)
        version = connection.execute(statement).scalar_one()
        if version == before.settings_version:
            return before
        boards = self.ledger_boards(connection, ledger_id)
        return LedgerBoards(version, boards, before.webhooks)

    def all_boards(self, connection: Connection) -> list[BoardState]:
        """Return all boards that are not archived: `main`, then by id."""
        statement = _BOARDS.where(Board.archived_at.is_(None))
        ordered = statement.order_by(Board.board_id != MAIN, Board.board_id)
        return [self._state(row) for row in connection.execute(ordered).mappings()]

    def find(self, connection: Connection, board_id: str) -> BoardState | None:
        """Return a board, even an archived one, or None."""
        if not BOARD_ID.fullmatch(board_id):
            return None  # Postgres refuses some characters
        row = connection.execute(_BOARDS.where(Board.board_id == board_id)).mappings().first()
        return self._state(row) if row else None

    def current(
        self,
        connection: Connection,
        ledger_id: str,
        version: LedgerVersion,
        count: int,
        known: LedgerBoards | None,
        may_freeze: bool = False,
    ) -> Current:
        """Return the boards of a ledger at the time of this transaction.

        `version` is the one that this transaction created, for `count` updates. Opens the seasons
        that are due, and changes the states, before anything is recorded: the clock moves on if the
        times of these updates would be on both sides of such a boundary. `known` saves the read if
        it is of this settings version. Raises FreezeDue if a board is due, unless it `may_freeze`.
        """
        clock, before = version.clock, known
        if before is None or before.settings_version != version.settings_version:
            boards = self.ledger_boards(connection, ledger_id)
            webhooks = outbox.subscriptions(connection)
            before = LedgerBoards(version.settings_version, boards, webhooks)
        after, boundary = before, before.next_change_at
        settings_version = new_settings_version()
        while boundary is not None and boundary <= moment_of(clock):
            # All updates of a transaction are in one season: none is from before the boundary.
            clock = max(clock, _microseconds(boundary) + count - 1)
            boards = [at_time(board, boundary) for board in after.boards]
            after = LedgerBoards(settings_version, boards, before.webhooks)
            boundary = after.next_change_at
        if after is not before:
            if not may_freeze and _is_frozen_between(before.boards, after.boards):
                raise FreezeDue(ledger_id, count)
            self._save(connection, before.boards, after.boards)
            after = replace(after, boards=self.ledger_boards(connection, ledger_id))  # new stamps
            connection.execute(
                update(BoardVersion)
                .where(BoardVersion.board_id == ledger_id)
                .values(clock=clock, settings_version=after.settings_version)
            )
        return Current(after, clock, changed(known or before, after), before.boards)

    def score_ids(
        self, connection: Connection, seasons: Collection[tuple[str, int]]
    ) -> tuple[int, int]:
        """Return the ids after which, and up to which, the scores of these seasons are."""
        numbers = [(board_id, number + next_) for board_id, number in seasons for next_ in (0, 1)]
        statement = select(Season.board_id, Season.number, Season.after_score_id).where(
            tuple_(Season.board_id, Season.number).in_(numbers)
        )
        found = {(row[0], row[1]): row[2] for row in connection.execute(statement)}
        after = min(found[season] for season in seasons)
        ends = [found.get((board_id, number + 1), MAX_SCORE_ID) for board_id, number in seasons]
        return after, max(ends)

    def _save(
        self, connection: Connection, before: Sequence[BoardState], after: Sequence[BoardState]
    ) -> None:
        """Record the changes of state, and the seasons opened since `before`."""
        for old, new in zip(before, after, strict=True):
            if new == old:
                continue
            connection.execute(
                update(Board)
                .where(Board.board_id == new.board_id)
                .values(
                    state=new.state,
                    next_change_at=new.next_change_at,
                    frozen=new.frozen and new.frozen.columns(),
                )
            )
            freezes = old.frozen is None and new.frozen is not None
            if freezes:
                take_image(connection, new)
            opened = []
            while old.season < new.season and old.season_ends_at is not None:
                old = next_season(old, old.season_ends_at)
                opened.append(old)
            insert_seasons(connection, opened)
            touch(connection, [new.board_id], is_shown=freezes, season=new.season)

    def _state(self, row: Mapping[str, Any] | RowMapping) -> BoardState:
        values = {name: row[name] for name in _COLUMNS}
        if row["board_id"] == MAIN:
            values |= self._main_settings
            if values["title"] == DEFAULT_TITLE:
                values["title"] = self._main_title
        return BoardState(
            **values,
            reset=Reset(**row["reset"]) if row["reset"] else None,
            frozen=Frozen.from_columns(row["frozen"]) if row["frozen"] else None,
            state="archived" if row["archived_at"] else row["state"],
            season=row["number"],
            season_starts_at=row["starts_at"],
            season_ends_at=row["ends_at"],
            next_change_at=row["next_change_at"],
            shown=row["shown"],
        )


_COLUMNS = (
    *("board_id", "title", "source", "policy", "order", "format", "min_score", "max_score"),
    *("submit", "public", "tickets", "opens_at", "closes_at", "freezes_at"),
)


def _is_frozen_between(before: Sequence[BoardState], after: Sequence[BoardState]) -> bool:
    return any(new.frozen and not old.frozen for old, new in zip(before, after, strict=True))


def insert_seasons(connection: Connection, boards: Sequence[BoardState]) -> None:
    """Record the current season of each of these, which starts after all scores so far."""
    if not boards:
        return
    newest = connection.execute(select(func.coalesce(func.max(Score.score_id), 0))).scalar_one()
    rows = [
        {
            "board_id": board.board_id,
            "number": board.season,
            "starts_at": board.season_starts_at,
            "ends_at": board.season_ends_at,
            "after_score_id": newest,
        }
        for board in boards
    ]
    connection.execute(insert(Season), rows)


def insert_version(connection: Connection, board: BoardState) -> None:
    """Insert the first version of a new board. Its clock is at the start of its first season."""
    connection.execute(
        insert(BoardVersion).values(
            board_id=board.board_id,
            stamp=secrets.token_hex(8),
            shown=secrets.token_hex(8),
            clock=_microseconds(board.season_starts_at),
            settings_version=new_settings_version(),
        )
    )


def by_ledger(connection: Connection, board_ids: Collection[str]) -> dict[str, set[str]]:
    """Return those of these boards that are not archived, by their ledger."""
    ledger_id = func.coalesce(Board.source, Board.board_id)
    of_boards = Board.board_id.in_(board_ids), Board.archived_at.is_(None)
    found: dict[str, set[str]] = {}
    for board_id, of_ledger in connection.execute(
        select(Board.board_id, ledger_id).where(*of_boards)
    ):
        found.setdefault(of_ledger, set()).add(board_id)
    return found


def touch_user(connection: Connection, user_id: str) -> Collection[str]:
    """Give the boards of a user who is shown in another way new stamps; return these boards.

    The user was hidden, shown, renamed or erased. A frozen board shows the user only if its image
    does.
    """
    of_user = select(Standing.board_id, Standing.season).where(Standing.user_id == user_id)
    seasons = {(row.board_id, row.season) for row in connection.execute(of_user)}
    board_ids = {board_id for board_id, _ in seasons}
    touch(connection, board_ids)
    touch_shown(connection, seasons)
    for ledger_id in by_ledger(connection, board_ids):
        change_settings(connection, ledger_id)
    return board_ids


def lock_ledgers(connection: Connection) -> None:
    """Let no other transaction write to a ledger or create one until the end of this one.

    Waits for those in progress. Locks the table, because a ledger that is being created has no row
    to lock yet.
    """
    if connection.dialect.name == "postgresql":  # SQLite has one writer at a time
        connection.execute(_LOCK_VERSIONS)


def players(connection: Connection, board: BoardState) -> int:
    """Return the number of users on the board in the season that it shows."""
    season = board.shown_standings
    found = connection.execute(_PLAYERS, {"board_id": board.board_id, "season": season})
    return int(found.scalar_one())


def columns(board: BoardState) -> dict[str, Any]:
    """Return the columns of the board's row that hold its settings and its state."""
    stored = {name: getattr(board, name) for name in (*_COLUMNS, "state", "next_change_at")}
    reset = board.reset and asdict(board.reset)
    return {**stored, "reset": reset, "frozen": board.frozen and board.frozen.columns()}


def _microseconds(time: datetime) -> int:
    return (time - moment_of(0)) // (moment_of(1) - moment_of(0))
