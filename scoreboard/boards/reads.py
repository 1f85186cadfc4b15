"""Read board objects, with the number of users on each board."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, select

from ..concurrency.coalescer import Coalescer
from ..db import transactions
from ..models import BoardVersion
from . import store
from .board import BoardState

# Reads boards. On SQLite it runs in a thread, without Flask's context.
Read = Callable[[Connection], Sequence[BoardState]]
Bodies = list[dict[str, Any]]


class BoardReads:
    """Coalesces concurrent reads: they share one snapshot and its counts.

    To count a million users takes a third of a second, and after a restart every page reads its
    board. A board is counted again only after a change of its stamp.
    """

    def __init__(self) -> None:
        self._batches = Coalescer[Read, Bodies](
            lambda reads: transactions.long_read(
                lambda connection: [self.bodies(connection, read(connection)) for read in reads]
            ),
            sys.maxsize,
        )
        self._players: dict[str, tuple[str, int]] = {}  # by board, with its stamp

    def run(self, read: Read) -> Bodies:
        """Return the objects of the boards that `read` returns. Blocks."""
        return self._batches.run(read)

    def bodies(self, connection: Connection, boards: Sequence[BoardState]) -> Bodies:
        """Return the objects of these boards, read in the same transaction."""
        of_boards = BoardVersion.board_id.in_([board.board_id for board in boards])
        statement = select(BoardVersion.board_id, BoardVersion.stamp).where(of_boards)
        stamps = {row.board_id: row.stamp for row in connection.execute(statement)}
        return [
            {**board.body(), "players": self._count(connection, board, stamps[board.board_id])}
            for board in boards
        ]

    def _count(self, connection: Connection, board: BoardState, stamp: str) -> int:
        stamp = board.shown if board.frozen else stamp
        counted_at, players = self._players.get(board.board_id, ("", 0))
        if counted_at != stamp:
            players = store.players(connection, board)
            self._players[board.board_id] = stamp, players
        return players
