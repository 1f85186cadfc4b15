"""Read the history from the database and compute standings and boards, without server code."""

from collections import namedtuple
from datetime import UTC, datetime
from decimal import Decimal

from tests.support.sql import query

BOARD_SIZE = 10
COLUMNS = (
    "score_id, user_id, score_value, created_at, achieved_at, identity, submitted_by, score, "
    "applied, version"
)
# Scores of seeded players have no version and were never pushed.
ROWS = f"SELECT {COLUMNS} FROM scores WHERE version IS NOT NULL ORDER BY version, created_at"
STANDINGS = "SELECT user_id, score, reached_at, achieved_at, score_id, remainder FROM standings"
MAX_SCORE = 2**53 - 1


# An accepted update: a row of the `scores` table.
Row = namedtuple("Row", COLUMNS)
# The standing of a user. `exact` is the exact decimal score, `score` the double that shows it.
Standing = namedtuple("Standing", "score, reached_at, achieved_at, score_id, exact")
# All accepted updates in commit order, and the standing of each user.
History = namedtuple("History", "rows, standings")


def read_history(database):
    """Return the history in the database at this URL, `sqlite:///...` or `postgresql://...`."""
    rows = [_row(*map(_in_utc, values)) for values in query(database, ROWS)]
    standings = {
        user_id: _standing(*map(_in_utc, values)) for user_id, *values in query(database, STANDINGS)
    }
    return History(rows, standings)


def _row(*values):
    row = Row(*values)
    return row._replace(applied=bool(row.applied))  # SQLite has no booleans


def _standing(score, *values):
    *others, billionths = values
    return Standing(score, *others, exact=_decimal(score) + Decimal(billionths).scaleb(-9))


def _in_utc(value):
    """Return a timestamp as a datetime in UTC, other values unchanged: SQLite stores text."""
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    if isinstance(value, str) and len(value) == 26 and value[10] == " ":
        return datetime.fromisoformat(value).replace(tzinfo=UTC)
    return value


def _decimal(score):
    return Decimal(repr(score))


def _rounded(exact):
    """Return the double that the server shows for an exact total."""
    if abs(exact) > MAX_SCORE:
        return float((MAX_SCORE + 1) * (1 if exact > 0 else -1))
    return float(exact)


def apply(policy, current, row):
    """Return a user's standing after one more update, or None if the update is not applied."""
    value = _decimal(row.score_value)
    if current is None:
        return Standing(row.score_value, row.created_at, row.achieved_at, row.score_id, value)
    if policy == "latest" and row.achieved_at < current.achieved_at:
        return None
    if policy == "best" and row.score_value <= current.score:
        return None
    exact = current.exact + value if policy == "total" else value
    score = _rounded(exact)
    reached_at = current.reached_at if score == current.score else row.created_at
    return Standing(score, reached_at, row.achieved_at, row.score_id, exact)


def fold(rows, policy):
    """Yield each update, whether it is applied, and all standings after it (one shared dict)."""
    standings = {}
    for row in rows:
        changed = apply(policy, standings.get(row.user_id), row)
        if changed:
            standings[row.user_id] = changed
        yield row, changed is not None, standings


def board(standings):
    """Return the top 10: best score first, ties by who reached it first, then by user id."""
    order = sorted(
        standings.items(), key=lambda each: (-each[1].score, each[1].reached_at, each[0])
    )
    return [{"user_id": user, "score": standing.score} for user, standing in order[:BOARD_SIZE]]


def boards(rows, policy):
    """Return the top 10 before the first update and after each update."""
    return [[], *(board(standings) for _, _, standings in fold(rows, policy))]
