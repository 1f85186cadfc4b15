"""Write users and standings directly into the transactions."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, insert

from scoreboard.db import transactions
from scoreboard.models import Score, Standing, User

START = datetime(2026, 1, 1, tzinfo=UTC)


def user_id(number: int) -> str:
    return f"{number:08x}-0000-4000-8000-000000000000"


def create_users(count: int) -> list[str]:
    """Create users with one score each, for standings to refer to; return their ids."""
    ids = [user_id(number) for number in range(count)]
    users = [
        {
            "user_id": user,
            "username": f"name of {user}",
            "name_key": user,
            "email": user,
            "role": "player",
            "created_at": START,
        }
        for user in ids
    ]
    scores = [
        {
            "score_id": number,
            "user_id": user,
            "score_value": 0.0,
            "created_at": START,
            "achieved_at": START,
            "identity": "x",
            "submitted_by": user,
            "score": 0.0,
            "applied": True,
        }
        for number, user in enumerate(ids, 1)
    ]
    transactions.transaction(
        lambda c: [c.execute(insert(User), users), c.execute(insert(Score), scores)]
    )
    return ids


def rows(standings: list[tuple[float, int, bool]]) -> list[dict]:
    """Return standings of the first users from score, minute when reached, and hidden."""
    return [
        {
            "user_id": user_id(number),
            "rank_key": float(score),
            "reached_at": START + timedelta(minutes=minute),
            "achieved_at": START,
            "score_id": number + 1,
            "hidden": hidden,
        }
        for number, (score, minute, hidden) in enumerate(standings)
    ]


def put(standings: list[tuple[float, int, bool]]) -> None:
    """Replace all standings by these of the first users; see `rows`."""
    new = rows(standings)

    def write(connection):
        transactions.next_version(connection)
        connection.execute(delete(Standing))
        if new:
            connection.execute(insert(Standing), new)

    transactions.transaction(write)
