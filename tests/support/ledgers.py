"""Ledgers of the board `main`, and its top 10 in the database."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection

from scoreboard.boards.board import BoardState
from scoreboard.boards.directory import BoardDirectory
from scoreboard.boards.store import BoardStore
from scoreboard.db import transactions
from scoreboard.leaderboard import top10
from scoreboard.leaderboard.top10 import LedgerChange
from scoreboard.models import MAIN
from scoreboard.scores.ledger import Ledger


def _store(policy: str) -> BoardStore:
    bounds = {"min_score": None, "max_score": None}
    return BoardStore({"policy": policy, **bounds, "submit": "player", "public": True})


def make_ledger(
    policy: str = "latest", publish: Callable[[LedgerChange], object] = lambda change: None
) -> Ledger:
    """Return another ledger of `main` in the database of the current application."""
    return Ledger(MAIN, BoardDirectory(_store(policy)), publish)


def main_board(connection: Connection) -> BoardState:
    """Return the board `main` as it is in the database."""
    board = _store("latest").find(connection, MAIN)
    assert board
    return board


def read_top10() -> list[dict[str, Any]]:
    """Return the top 10 of `main` in the database, as `GET /api/score/top10` returns it."""
    (entries,) = transactions.read(lambda c: top10.read(c, [main_board(c)]))
    return top10.unnamed(entries)["top_10_scores"]
