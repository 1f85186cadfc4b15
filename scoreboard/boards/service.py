"""Boards: list them, create and change them, end seasons, freeze, reveal and archive them.

Each function blocks for its reads or its transaction. A change takes effect with its commit and is
pushed to the subscribers of the board.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select, update

from ..auth import tokens
from ..db import transactions
from ..errors import BoardInUse, Conflict, InvalidInput, NotPermitted, UnknownBoard
from ..http.fields import json_object
from ..models import MAIN, Board, Season, Standing
from ..permissions import Caller
from ..services import services
from . import images, store, versions
from .board import (
    MAX_DERIVED,
    BoardState,
    at_time,
    frozen_at,
    next_season,
    season_body,
    season_end,
    unfrozen,
)
from .schemas import changes_schema, live_query_schema, new_board_schema, reveal_schema
from .store import LedgerBoards

# Fields of `main` that the application's settings set, and the names of the settings.
MAIN_SETTINGS = {
    "policy": "SCORE_POLICY",
    "min_score": "SCORE_MIN",
    "max_score": "SCORE_MAX",
    "submit": "SCORE_SUBMIT",
    "public": "PUBLIC_BOARD",
}
# They decide what a score means, so scores must not have been recorded by others.
FIXED = ("policy", "order")
_NO_TICKETS = "Must be null: set it on the source, which takes the updates."


def may_read(board: BoardState, caller: Caller | None) -> bool:
    """Whether the caller may read the board: any user may, and everybody if it is public."""
    return board.public or (caller is not None and caller.user_id is not None)


def readable(board_id: str, token: str | None) -> BoardState:
    """Return a board that the token may read; an archived one only to admins.

    Raises UnknownBoard, and NotAuthenticated or NotPermitted if the board is not public.
    """
    try:
        board = services().boards.get(board_id)
    except UnknownBoard:
        archived = transactions.read(lambda c: services().boards.store.find(c, board_id))
        if archived is None or token is None or not tokens.authenticate(token).may("users:manage"):
            raise
        return archived
    if not board.public and not may_read(board, tokens.authenticate(token)):
        raise NotPermitted("This board is not public: read it with the token of a user.")
    return board


def is_live(live: str, token: str | None) -> bool:
    """Whether a query has `live=1`. Raises NotAuthenticated, or NotPermitted if the token may not.

    A frozen board is then read as it is, and not as it was at the freeze.
    """
    if live == "1" and not tokens.authenticate(token).may("score:any"):
        raise NotPermitted("Only a scorer or an admin may read a frozen board live.")
    return live == "1"


def all_boards(token: str | None, query: dict[str, str]) -> list[dict[str, Any]]:
    """Return the board objects that the token may read: `main` first, then by id.

    Without a token these are the public boards. Raises InvalidInput, and NotAuthenticated for a bad
    token or if the query has `live=1` and the token may not.
    """
    live = is_live(live_query_schema.load(query)["live"], token)
    caller = None if token is None else tokens.authenticate(token)
    boards = services().boards.store

    def read(connection: Connection) -> list[BoardState]:
        found = [each for each in boards.all_boards(connection) if may_read(each, caller)]
        return [each.live() for each in found] if live else found

    return services().board_reads.run(read)


def every_board() -> list[dict[str, Any]]:
    """Return the board objects of all boards, for the command line, in the same order."""
    boards, reads = services().boards.store, services().board_reads
    return transactions.read(lambda c: reads.bodies(c, boards.all_boards(c)))


def board(board_id: str, token: str | None, query: dict[str, str]) -> dict[str, Any]:
    """Return the board object of a board that the token may read; see `readable` and `is_live`."""
    found = readable(board_id, token)
    return body(found, is_live(live_query_schema.load(query)["live"], token))


def body(board: BoardState, live: bool = False) -> dict[str, Any]:
    """Return the board object of this board as it is now, or as the public sees it."""
    boards = services().boards.store

    def read(connection: Connection) -> list[BoardState]:
        found = boards.find(connection, board.board_id) or board
        return [found.live() if live else found]

    return services().board_reads.run(read)[0]


def seasons(board_id: str, token: str | None, query: dict[str, str]) -> list[dict[str, Any]]:
    """Return the seasons of a board, the newest first; those of a frozen one until the freeze.

    Raises what `readable` and `is_live` raise.
    """
    board = readable(board_id, token)
    live = is_live(live_query_schema.load(query)["live"], token)
    boards = services().boards.store
    statement = (
        select(Season.number, Season.starts_at, Season.ends_at)
        .where(Season.board_id == board.board_id)
        .order_by(Season.number.desc())
    )

    def read(connection: Connection) -> list[dict[str, Any]]:
        found = boards.find(connection, board.board_id) or board
        rows = [season_body(*row) for row in connection.execute(statement)]
        if live or not found.frozen:
            return rows
        shown = found.body()["season"]
        return [shown, *(each for each in rows if each["number"] < shown["number"])]

    return transactions.read(read)


def due() -> Sequence[str]:
    """Return the ledgers of the boards whose season or state changes about now."""
    statement = (
        select(func.coalesce(Board.source, Board.board_id))
        .where(Board.next_change_at <= _now(), Board.archived_at.is_(None))
        .distinct()
    )
    return transactions.read(lambda c: c.execute(statement).scalars().all())


def create(request_body: object) -> dict[str, Any]:
    """Create a board and return its object. Raises InvalidInput, and Conflict if the id exists."""
    values = new_board_schema.load(json_object(request_body))
    _check(values)
    if values["source"] is None:
        created = transactions.transaction(lambda c: _insert(c, values, _now()))
    else:
        try:
            created = _change(
                values["source"], lambda c, boards, now: _derive(c, boards, values, now)
            )
        except UnknownBoard:  # archived since the check
            raise _invalid({"source": ["Unknown board."]}) from None
    return body(created)


def _derive(
    connection: Connection, boards: LedgerBoards, values: dict[str, Any], now: datetime
) -> BoardState:
    if len(boards.boards) > MAX_DERIVED:
        problem = {"source": [f"Has {MAX_DERIVED} derived boards already."]}
        raise InvalidInput("This source has no room for another board.", problem)
    versions.change_settings(connection, boards.ledger.board_id)
    return _insert(connection, values, now)


def _insert(connection: Connection, values: dict[str, Any], now: datetime) -> BoardState:
    new = BoardState(
        **values,
        state="open",
        season=1,
        season_starts_at=now,
        season_ends_at=season_end(values["reset"], now),
        next_change_at=None,
    )
    board = at_time(new, now)
    row = {**store.columns(board), "created_at": now}
    statement = transactions.insert(Board, connection.dialect.name).on_conflict_do_nothing()
    if connection.execute(statement.returning(Board.board_id), row).first() is None:
        raise Conflict("There is, or was, a board with this id: choose another.", "board_exists")
    store.insert_version(connection, board)
    store.insert_seasons(connection, [board])
    return board


def change(board_id: str, request_body: object) -> dict[str, Any]:
    """Change the fields in the body and return the board object.

    Raises UnknownBoard, InvalidInput, and BoardInUse for a fixed field after the first score.
    """
    changes = changes_schema.load(json_object(request_body))
    board = services().boards.get(board_id)
    if board_id == MAIN:
        fields = {
            name: [f"Set {MAIN_SETTINGS[name]} instead."]
            for name in changes
            if name in MAIN_SETTINGS
        }
        if fields:
            raise InvalidInput("These fields of main come from the server's settings.", fields)

    def work(connection: Connection, boards: LedgerBoards, now: datetime) -> None:
        before = _of(boards, board_id)
        after = replace(before, **changes)
        _check({**changes, **_times(after)})
        if after.source and after.tickets is not None:
            raise _invalid({"tickets": [_NO_TICKETS]})
        fixed = [name for name in FIXED if getattr(before, name) != getattr(after, name)]
        if fixed and _has_scores(connection, board_id):
            raise BoardInUse(f"This board has scores: its {fixed[0]} cannot change any more.")
        if after.reset != before.reset:
            after = replace(after, season_ends_at=season_end(after.reset, now))
        _save(connection, before, at_time(after, now))

    _change(board.ledger_id, work)
    return body(board)


def end_season(board_id: str) -> dict[str, Any]:
    """End the current season now, open the next, and return the board object. UnknownBoard."""
    board = services().boards.get(board_id)

    def work(connection: Connection, boards: LedgerBoards, now: datetime) -> None:
        before = _of(boards, board_id)
        of_season = (Season.board_id == board_id) & (Season.number == before.season)
        connection.execute(update(Season).where(of_season).values(ends_at=now))
        after = at_time(next_season(before, now), now)
        store.insert_seasons(connection, [after])
        _save(connection, before, after)

    _change(board.ledger_id, work)
    return body(board, live=True)


def freeze(board_id: str) -> dict[str, Any]:
    """Freeze a board: the public sees it as it is now from then on. Raises UnknownBoard.

    Does nothing if it is frozen. Blocks the ledger while the standings are copied; see
    `images.take_image`.
    """
    board = services().boards.get(board_id)

    def work(connection: Connection, boards: LedgerBoards, now: datetime) -> None:
        before = _of(boards, board_id)
        if not before.frozen:
            _save(connection, before, at_time(frozen_at(before, now), now))

    _change(board.ledger_id, work)
    return body(board)


def unfreeze(board_id: str) -> dict[str, Any]:
    """Show a frozen board as it is. Does nothing if it is not frozen. Raises UnknownBoard."""
    board = services().boards.get(board_id)

    def work(connection: Connection, boards: LedgerBoards, now: datetime) -> None:
        before = _of(boards, board_id)
        if before.frozen:
            _save(connection, before, at_time(unfrozen(before, now), now))

    _change(board.ledger_id, work)
    return body(board)


def reveal(board_id: str, request_body: object) -> dict[str, Any]:
    """Show the next `places` of a frozen board from the last, one transaction each; or all.

    When the first place is shown, the board is not frozen any more. Raises InvalidInput,
    UnknownBoard, and Conflict if the board is not frozen.
    """
    places = reveal_schema.load(json_object(request_body))["places"]
    board = services().boards.get(board_id)

    def work(connection: Connection, boards: LedgerBoards, now: datetime) -> bool:
        before = _of(boards, board_id)
        if not before.frozen:
            raise Conflict("This board is not frozen.", "not_frozen")
        is_whole = places is None or images.reveal_place(connection, before)
        if is_whole:
            after = unfrozen(before, now)
        else:
            frozen = replace(before.frozen, revealed=before.frozen.revealed + 1)
            after = replace(before, frozen=frozen)
        _save(connection, before, at_time(after, now))
        return is_whole

    for _ in range(places or 1):
        if _change(board.ledger_id, work):
            break
    return body(board)


def archive(board_id: str) -> None:
    """Archive a board: it is no longer listed or fed. Raises UnknownBoard and BoardInUse."""
    board = services().boards.get(board_id)
    if board_id == MAIN:
        raise BoardInUse("The board main always exists.")

    def work(connection: Connection, boards: LedgerBoards, now: datetime) -> None:
        if board.source is None and len(boards.boards) > 1:
            raise BoardInUse("Archive the boards derived from this one first.")
        _of(boards, board_id)
        of_board = Board.board_id == board_id
        connection.execute(update(Board).where(of_board).values(archived_at=now))
        versions.change_settings(connection, boards.ledger.board_id)

    _change(board.ledger_id, work)


def _change(ledger_id: str, work: Callable[[Connection, LedgerBoards, datetime], Any]) -> Any:
    """Run `work` in a transaction of a ledger. Raises UnknownBoard if it is archived.

    It may take long, because it may freeze or unfreeze a board.
    """
    return services().ledgers.get(ledger_id).change(work)


def _save(connection: Connection, before: BoardState, board: BoardState) -> None:
    """Write the settings, the state and the end of the season. Freezes or unfreezes the board."""
    if board.frozen and not before.frozen:
        images.take_image(connection, board)
    elif before.frozen and not board.frozen:
        images.drop_image(connection, before)
    columns = store.columns(board)
    if board.title == before.title:
        del columns["title"]  # that of `main` may be the setting, which can change
    connection.execute(update(Board).where(Board.board_id == board.board_id).values(columns))
    of_season = (Season.board_id == board.board_id) & (Season.number == board.season)
    connection.execute(update(Season).where(of_season).values(ends_at=board.season_ends_at))
    is_shown = board.frozen != before.frozen
    versions.touch(connection, [board.board_id], is_shown, season=board.season)
    versions.change_settings(connection, board.ledger_id)


def _now() -> datetime:
    return transactions.moment_of(transactions.now())


def _of(boards: LedgerBoards, board_id: str) -> BoardState:
    for board in boards.boards:
        if board.board_id == board_id:
            return board
    raise UnknownBoard


def _has_scores(connection: Connection, board_id: str) -> bool:
    statement = select(Standing.user_id).where(Standing.board_id == board_id).limit(1)
    return connection.execute(statement).first() is not None


def _times(board: BoardState) -> dict[str, Any]:
    names = ("opens_at", "closes_at", "min_score", "max_score")
    return {name: getattr(board, name) for name in names}


def _check(values: dict[str, Any]) -> None:
    """Raise InvalidInput if two fields contradict each other, or the source cannot be one."""
    fields = {}
    low, high = values["min_score"], values["max_score"]
    if low is not None and high is not None and low > high:
        fields["max_score"] = ["Must not be below min_score."]
    opens_at, closes_at = values["opens_at"], values["closes_at"]
    if opens_at and closes_at and opens_at >= closes_at:
        fields["closes_at"] = ["Must be after opens_at."]
    if source := values.get("source"):
        try:
            if services().boards.get(source).source:
                fields["source"] = ["Must be a board that has no source itself."]
        except UnknownBoard:
            fields["source"] = ["Unknown board."]
        if values["tickets"] is not None:
            fields["tickets"] = [_NO_TICKETS]
    if fields:
        raise _invalid(fields)


def _invalid(fields: dict[str, list[str]]) -> InvalidInput:
    return InvalidInput("Some fields are missing or wrong; see fields.", fields)
