"""Create players in bulk, for load tests and demonstrations."""

import secrets
import uuid
from datetime import UTC, datetime
from functools import partial
from typing import Any

from sqlalchemy import Connection, false, insert, select

from ..boards.board import BoardState
from ..db import transactions
from ..errors import UnknownBoard
from ..models import MAIN, Score, Standing, User
from ..services import services

# Rows per transaction: enough to be fast, few enough not to block other writers for long.
CHUNK_SIZE = 2_000


def seed_players(count: int, scores: bool) -> list[dict[str, Any]]:
    """Create players, each with a random score in `main` if `scores`; return their rows. Blocks."""
    prefix = f"player-{secrets.token_hex(4)}"
    players = [_player(f"{prefix}-{number}") for number in range(count)]
    main = services().boards.get(MAIN)
    for start in range(0, count, CHUNK_SIZE):
        chunk = players[start : start + CHUNK_SIZE]
        transactions.transaction(partial(_insert, players=chunk, scores=scores, board=main))
    return players


def _player(name: str) -> dict[str, Any]:
    return {
        "user_id": str(uuid.uuid4()),
        "username": name,
        "name_key": name,
        "email": f"{name}@seed.invalid",
        "role": "player",
        "created_at": datetime.now(UTC),
    }


def _insert(
    connection: Connection, players: list[dict[str, Any]], scores: bool, board: BoardState
) -> None:
    connection.execute(insert(User), players)
    if scores:
        user_ids = [player["user_id"] for player in players]
        version = transactions.next_version(connection, len(user_ids))
        if version is None:
            raise UnknownBoard
        times = transactions.moments(version.clock, len(user_ids))
        seasons = [board.season] * len(user_ids)
        connection.execute(insert(Score), list(map(_score, user_ids, times, seasons)))
        same = ["user_id", "board_id", "season", "score_id", "achieved_at"]
        columns = [getattr(Score, name) for name in same]
        rank_key = board.sign * Score.score
        rows = select(*columns, rank_key, Score.created_at, false())
        names = [*same, "rank_key", "reached_at", "hidden"]
        of_users = rows.where(Score.user_id.in_(user_ids))
        connection.execute(insert(Standing).from_select(names, of_users))


def _score(user_id: str, now: datetime, season: int) -> dict[str, Any]:
    value = float(secrets.randbelow(1_000_000))
    return {
        "season": season,
        "user_id": user_id,
        "score_value": value,
        "created_at": now,
        "achieved_at": now,
        "identity": "seed-" + secrets.token_hex(8),
        "submitted_by": user_id,
        "score": value,
        "applied": True,
    }
