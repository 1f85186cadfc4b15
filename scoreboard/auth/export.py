"""Export what the server stores about a user: the account and all scores."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, select

from ..db import transactions
from ..http.fields import moment, number
from ..http.json import dumps
from ..models import Score
from .accounts import Account
from .schemas import account_schema

# Scores per read: this many block the loop, or the interpreter, for some milliseconds.
CHUNK_SIZE = 1000
_SCORES = select(
    *(Score.score_id, Score.board_id, Score.season, Score.score_value, Score.achieved_at),
    *(Score.created_at, Score.score, Score.applied, Score.voided_at),
).order_by(Score.score_id)


def parts(account: Account) -> Iterator[bytes]:
    """Yield the parts of a JSON object with the `account` and its `scores`, the oldest first.

    Blocks for a read per part, and needs the application's context.
    """
    yield b'{"account":' + dumps(account_schema.dump(account)) + b',"scores":['
    after, separator = 0, b""
    while True:
        rows = _read(account.user_id, after)
        if rows:
            yield separator + dumps(rows)[1:-1]  # without the brackets of the list
            after, separator = rows[-1]["score_id"], b","
        if len(rows) < CHUNK_SIZE:
            break
    yield b"]}"


def _read(user_id: str, after: int) -> list[dict[str, Any]]:
    newer = _SCORES.where(Score.user_id == user_id, Score.score_id > after).limit(CHUNK_SIZE)

    def read(connection: Connection) -> list[dict[str, Any]]:
        return [_score(row) for row in connection.execute(newer)]

    return transactions.long_read(read)


def _score(row: Any) -> dict[str, Any]:
    return {
        "score_id": row.score_id,
        "board": row.board_id,
        "season": row.season,
        "score_value": number(row.score_value),
        "timestamp": moment(row.achieved_at),
        "created_at": moment(row.created_at),
        "score": number(row.score),
        "applied": row.applied,
        "voided_at": row.voided_at and moment(row.voided_at),
    }
