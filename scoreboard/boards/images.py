"""The images of frozen boards: the standings that the public sees until they are revealed.

An image has the negative number of its season; see `models.Standing`.
"""

from collections.abc import Collection

from sqlalchemy import Connection, delete, insert, select

from ..db import transactions
from ..models import Board, Standing, reversed_standing_order
from .board import BoardState
from .versions import touch


def take_image(connection: Connection, board: BoardState) -> None:
    """Copy the standings that a frozen board shows: its image.

    Blocks for as long as that takes; docs/boards.md has figures. The ledger is locked for the copy,
    on SQLite the whole database. Updates that wait for more than LOCK_TIMEOUT get Overloaded.
    """
    columns = Standing.__table__.columns
    season = board.shown_season
    rows = select(*(-each if each.name == "season" else each for each in columns)).where(
        Standing.board_id == board.board_id, Standing.season == season
    )
    names = [each.name for each in columns]
    transactions.lift_deadline(connection)
    connection.execute(insert(Standing).from_select(names, rows))


def drop_image(connection: Connection, board: BoardState) -> None:
    """Delete the image of a frozen board. Blocks as `take_image` does, but for less time."""
    of_image = Standing.board_id == board.board_id, Standing.season == board.shown_standings
    transactions.lift_deadline(connection)
    connection.execute(delete(Standing).where(*of_image))


def reveal_place(connection: Connection, board: BoardState) -> bool:
    """Show the true score of the next place, from the last, in the image of a frozen board.

    Returns whether that was the first place, or there is none.
    """
    frozen = board.frozen
    if frozen is None:
        return True
    found = (
        select(Standing.__table__)
        .where(
            Standing.board_id == board.board_id,
            Standing.season == frozen.season,
            Standing.hidden.is_(False),
        )
        .order_by(*reversed_standing_order())
        .offset(frozen.revealed)
        .limit(2)
    )
    rows = connection.execute(found).mappings().all()
    if len(rows) < 2:
        return True
    row = {**rows[0], "season": -frozen.season}
    statement = transactions.insert(Standing, connection.dialect.name).values(row)
    key = ("user_id", "board_id", "season")
    changes = {name: value for name, value in row.items() if name not in key}
    connection.execute(statement.on_conflict_do_update(index_elements=list(key), set_=changes))
    return False


def touch_shown(connection: Connection, seasons: Collection[tuple[str, int]]) -> None:
    """Give the boards that show one of these stored seasons to the public a new `shown`."""
    board_ids = {board_id for board_id, _ in seasons}
    statement = select(Board.board_id, Board.frozen).where(Board.board_id.in_(board_ids))
    frozen = {row.board_id: row.frozen for row in connection.execute(statement)}
    shown = {
        board_id
        for board_id, season in seasons
        if not frozen[board_id] or season < frozen[board_id]["season"]
    }
    touch(connection, shown, is_shown=True)


def touch_ended(connection: Connection, seasons: Collection[tuple[str, int]]) -> None:
    """Give those boards a new `shown` that are frozen, if one of these seasons ended before.

    The public sees changes of such a season.
    """
    statement = select(Board.board_id, Board.frozen).where(
        Board.board_id.in_({board_id for board_id, _ in seasons}), Board.frozen.is_not(None)
    )
    frozen = {row.board_id: row.frozen["season"] for row in connection.execute(statement)}
    shown = {each for each, season in seasons if each in frozen and season < frozen[each]}
    touch(connection, shown, is_shown=True)
