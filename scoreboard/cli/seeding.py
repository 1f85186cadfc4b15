"""Create players in bulk, for load tests and demonstrations."""

import secrets
import uuid
from datetime import UTC, datetime
from functools import partial
from typing import Any

from sqlalchemy import Connection, false, insert, select

from ..db import transactions
from ..models import Score, Standing, User

# Rows per transaction: enough to be fast, few enough not to block other writers for long.
CHUNK_SIZE = 5_000


def seed_players(count: int, scores: bool) -> list[dict[str, Any]]:
    """Create players, each with a random score if `scores`; return their rows. Blocks."""
    prefix = f"player-{secrets.token_hex(4)}"
    players = [_player(f"{prefix}-{number}") for number in range(count)]
    for start in range(0, count, CHUNK_SIZE):
        chunk = players[start : start + CHUNK_SIZE]
        transactions.transaction(partial(_insert, players=chunk, scores=scores))
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


def _insert(connection: Connection, players: list[dict[str, Any]], scores: bool) -> None:
    connection.execute(insert(User), players)
    if scores:
        user_ids = [player["user_id"] for player in players]
        _, moments = transactions.next_version(connection, len(user_ids))
        connection.execute(insert(Score), list(map(_score, user_ids, moments)))
        same = ["user_id", "score", "score_id", "achieved_at"]
        columns = [getattr(Score, name) for name in same]
        rows = select(*columns, Score.created_at, false()).where(Score.user_id.in_(user_ids))
        names = [*same, "reached_at", "hidden"]
        connection.execute(insert(Standing).from_select(names, rows))


def _score(user_id: str, now: datetime) -> dict[str, Any]:
    value = float(secrets.randbelow(1_000_000))
    return {
        "user_id": user_id,
        "score_value": value,
        "created_at": now,
        "achieved_at": now,
        "identity": "seed-" + secrets.token_hex(8),
        "submitted_by": user_id,
        "score": value,
        "applied": True,
    }
