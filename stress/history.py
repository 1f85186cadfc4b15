"""Read the history from the database and compute standings and boards, without server code."""

import json
from collections import defaultdict, namedtuple
from datetime import UTC, datetime
from decimal import Decimal

from tests.support.sql import query

BOARD_SIZE = 10
COLUMNS = (
    "score_id, user_id, score_value, created_at, achieved_at, identity, submitted_by, score, "
    "applied, version, board_id, season, derived"
)
# Scores of seeded players have no version and were never pushed.
ROWS = f"SELECT {COLUMNS} FROM scores WHERE version IS NOT NULL ORDER BY version, created_at"
STANDINGS = (
    "SELECT board_id, season, user_id, rank_key, reached_at, achieved_at, score_id, remainder "
    "FROM standings"
)
BOARDS = 'SELECT board_id, source, policy, "order", min_score, max_score FROM boards'
SEASONS = "SELECT board_id, starts_at, ends_at FROM seasons ORDER BY board_id, number"
MAX_SCORE = 2**53 - 1


# An accepted update: a row of the `scores` table. `derived` has season and score by board.
Row = namedtuple("Row", COLUMNS)
# The standing of a user. `exact` is the exact decimal score, `score` the double that shows it.
Standing = namedtuple("Standing", "score, reached_at, achieved_at, score_id, exact")
# A board, and the start and end of each of its seasons. `sign` is -1 where lower is better.
Board = namedtuple("Board", "board_id, ledger_id, policy, sign, min_score, max_score, seasons")
# All accepted updates in commit order, the standings by board and season, then by user, the boards
# by id, and the names of the users.
History = namedtuple("History", "rows, standings, boards, names")
# What a board shows: the season and the score of each update that counts there, as (season, user,
# score), and the season and the standings before the first update and after each.
Shown = namedtuple("Shown", "updates, states, season")


def read_history(database, policy="latest"):
    """Return the history in the database at this URL, `sqlite:///...` or `postgresql://...`.

    `policy` is the one of `main`, a setting.
    """
    rows = [_row(*map(_in_utc, values)) for values in query(database, ROWS)]
    boards, standings, seasons = {}, defaultdict(dict), defaultdict(list)
    for board_id, *times in query(database, SEASONS):
        seasons[board_id].append(tuple(map(_in_utc, times)))
    for board_id, source, own_policy, order, *bounds in query(database, BOARDS):
        of_board = policy if board_id == "main" else own_policy
        sign = -1 if order == "asc" else 1
        boards[board_id] = Board(
            board_id, source or board_id, of_board, sign, *bounds, seasons[board_id]
        )
    for board_id, season, user_id, *values in query(database, STANDINGS):
        standing = _standing(boards[board_id].sign, *map(_in_utc, values))
        standings[board_id, season][user_id] = standing
    names = dict(query(database, "SELECT user_id, username FROM users"))
    return History(rows, dict(standings), boards, names)


def _row(*values):
    row = Row(*values)
    # SQLite has no booleans.
    return row._replace(applied=bool(row.applied), derived=json.loads(row.derived or "{}"))


def _standing(sign, rank_key, *values):
    *others, billionths = values
    score = sign * rank_key
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


def apply(board, current, row):
    """Return a user's standing after one more update, or None if the update is not applied."""
    value = _decimal(row.score_value)
    if current is None:
        return Standing(row.score_value, row.created_at, row.achieved_at, row.score_id, value)
    if board.policy == "latest" and row.achieved_at < current.achieved_at:
        return None
    if board.policy == "best" and row.score_value * board.sign <= current.score * board.sign:
        return None
    exact = current.exact + value if board.policy == "total" else value
    score = _rounded(exact)
    reached_at = current.reached_at if score == current.score else row.created_at
    return Standing(score, reached_at, row.achieved_at, row.score_id, exact)


def season_at(board, time):
    """Return the number of the season that has this time; 0 if none has."""
    for number, (starts_at, ends_at) in enumerate(board.seasons, 1):
        if starts_at <= time and (ends_at is None or time < ends_at):
            return number
    return 0


def counts(board, row):
    """Whether the update counts on this board, which is always open."""
    low, high = board.min_score, board.max_score
    in_range = (low is None or row.score_value >= low) and (high is None or row.score_value <= high)
    return row.board_id == board.ledger_id and in_range


def fold(rows, board):
    """Yield each update that counts on a board, its season, whether it is applied, and standings.

    These are all standings of that season after the update (one shared dict per season).
    """
    seasons = defaultdict(dict)
    for row in rows:
        if counts(board, row):
            season = season_at(board, row.created_at)
            standings = seasons[season]
            changed = apply(board, standings.get(row.user_id), row)
            if changed:
                standings[row.user_id] = changed
            yield row, season, changed is not None, standings


def top10(board, standings):
    """Return the user and score of each line: best first, then who reached it first, then by id."""
    order = sorted(
        standings.items(),
        key=lambda each: (-board.sign * each[1].score, each[1].reached_at, each[0]),
    )
    return [(user, standing.score) for user, standing in order[:BOARD_SIZE]]


def shown(history, board_id):
    """Return what a board shows in the course of the history."""
    board = history.boards[board_id]
    updates, states = [], [(1, [])]
    for row, season, _, standings in fold(history.rows, board):
        updates.append((season, row.user_id, standings[row.user_id].score))
        states.append((season, top10(board, standings)))
    return Shown(updates, states, len(board.seasons))
