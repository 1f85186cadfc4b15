"""The boards as this process knows them: at most a second old, without a read per request."""

import math
import time
from collections import defaultdict

from sqlalchemy import Connection, select

from ..db import transactions
from ..errors import DATABASE_ERRORS, UnknownBoard
from ..models import BoardVersion
from .board import BoardState
from .store import BoardStore, LedgerBoards

# Seconds until a board is read again, and so the changes of other processes are seen.
MAX_AGE = 1


class BoardDirectory:
    """Caches the boards of each ledger that this process has used."""

    def __init__(self, store: BoardStore) -> None:
        self.store = store
        self._ledgers: dict[str, LedgerBoards] = {}
        self._boards: dict[str, BoardState] = {}
        self._read_at: defaultdict[str, float] = defaultdict(lambda: -math.inf)

    def get(self, board_id: str) -> BoardState:
        """Return a board that is not archived. Raises UnknownBoard.

        Blocks for a read if the board was not read within MAX_AGE; if the database fails then, the
        board is returned as it was.
        """
        board = self._boards.get(board_id)
        ledger_id = board.ledger_id if board else board_id
        if board is None or time.monotonic() - self._read_at[ledger_id] > MAX_AGE:
            if board:  # other callers use the known board until the read ends
                self._read_at[ledger_id] = time.monotonic()
            try:
                self._read(board_id)
            except DATABASE_ERRORS:
                if board is None:
                    raise
            board = self._boards.get(board_id)
        if board is None:
            raise UnknownBoard
        return board

    def known(self, ledger_id: str) -> LedgerBoards | None:
        """Return the boards of a ledger as last seen, or None. Does not block."""
        return self._ledgers.get(ledger_id)

    def keep(self, ledger_id: str, boards: LedgerBoards) -> None:
        """Keep the boards of a ledger, read or committed by this process."""
        before = self._ledgers.get(ledger_id)
        self._read_at[ledger_id] = time.monotonic()
        if before is boards:
            return
        for board in before.boards if before else ():
            self._boards.pop(board.board_id, None)
        self._ledgers[ledger_id] = boards
        self._boards |= {board.board_id: board for board in boards.boards}

    def _read(self, board_id: str) -> None:
        def read(connection: Connection) -> tuple[str, LedgerBoards] | None:
            board = self.store.find(connection, board_id)
            if board is None:
                return None
            statement = select(BoardVersion.settings_version)
            of_ledger = BoardVersion.board_id == board.ledger_id
            version = connection.execute(statement.where(of_ledger)).scalar_one()
            boards = self.store.ledger_boards(connection, board.ledger_id)
            return board.ledger_id, LedgerBoards(version, boards)

        before = dict(self._ledgers)
        found = transactions.read(read)
        if found is None:
            return
        ledger_id, boards = found
        known = self._ledgers.get(ledger_id)
        if known is not before.get(ledger_id):
            return  # a transaction of this process has committed these boards during the read
        is_known = known is not None and known.settings_version == boards.settings_version
        self.keep(ledger_id, known if known and is_known else boards)
