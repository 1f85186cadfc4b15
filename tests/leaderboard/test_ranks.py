"""Pages, ranks, neighbours and the top 10 have one order and are read from the index alone."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from scoreboard.cli.users import seed_players
from scoreboard.concurrency import runtime
from scoreboard.db import transactions
from scoreboard.extensions import db
from scoreboard.http.fields import moment
from scoreboard.leaderboard import ranking, service, top10
from scoreboard.leaderboard.ranking import PageEnd, Snapshot, SortKey
from scoreboard.models import MAIN
from scoreboard.scores import history
from tests.support import standings
from tests.support.ledgers import main_board, read_top10

USERS = 14
PLAYERS = 5_000

boards = st.lists(
    st.tuples(st.sampled_from([-1.5, 0, 1, 2**53 - 1]), st.integers(0, 2), st.booleans()),
    max_size=USERS,
)
quick = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture
def users(app):
    return standings.create_users(USERS)


def expected_entries(board):
    """Return the entries of the leaderboard as the contract defines them, by counting."""
    visible = [
        (-score, minute, standings.user_id(number))
        for number, (score, minute, hidden) in enumerate(board)
        if not hidden
    ]
    return [
        {
            "rank": 1 + sum(other[0] < each[0] for other in visible),
            "position": position,
            "user_id": each[2],
            "username": f"name of {each[2]}",
            "score": -each[0],
            "reached_at": moment(standings.START.replace(minute=each[1])),
        }
        for position, each in enumerate(sorted(visible), 1)
    ]


def page(limit, cursor=None):
    query = {"limit": str(limit), **({"cursor": cursor} if cursor else {})}
    return json.loads(service.page(query, None, ()).body)


@quick
@given(board=boards, limits=st.lists(st.integers(1, 6), min_size=USERS, max_size=USERS))
def test_pages_neighbours_and_top_10_agree(users, board, limits):
    standings.put(board)
    expected = expected_entries(board)

    listed, cursor = [], None
    for limit in limits:
        found = page(limit, cursor)
        listed += found["entries"]
        cursor = found["next"]
        assert found["total"] == len(expected)
        if cursor is None:
            break
        assert len(found["entries"]) == limit

    assert listed == expected
    assert read_top10() == [
        {"user_id": entry["user_id"], "score": entry["score"]} for entry in expected[:10]
    ]
    for around, entry in zip(limits, expected, strict=False):
        index = entry["position"] - 1
        found = service.neighbours(entry["user_id"], {"around": around}, None, ())
        assert json.loads(found.body) == {
            "entry": entry,
            "entries": expected[max(0, index - around) : index + around + 1],
            "total": len(expected),
        }


@quick
@given(before=boards, after=boards, first=st.integers(1, 6), second=st.integers(1, 6))
def test_a_page_after_a_change_continues_in_the_changed_board(users, before, after, first, second):
    standings.put(before)
    found = page(first)
    cursor, end = found["next"], found["entries"][-1:]
    if cursor is None:
        return

    standings.put(after)

    def key(entry):
        return -entry["score"], entry["reached_at"], entry["user_id"]

    expected = [entry for entry in expected_entries(after) if key(entry) > key(end[0])]
    found = page(second, cursor)
    assert found["entries"] == expected[:second]
    assert (found["next"] is None) == (len(expected) <= second)


def snapshot(connection):
    return Snapshot(connection, MAIN, 1, 1, "", {})


@pytest.fixture
def seeded(app):
    """Return a function that reads the key at a position among PLAYERS players."""
    seed_players(PLAYERS, scores=True)
    if db.engine.dialect.name == "postgresql":
        with db.engine.connect() as connection:  # SQLAlchemy would begin a transaction
            connection.connection.dbapi_connection.execute("VACUUM ANALYZE")

    def key_at(position):
        statement = ranking.FIRST[0].offset(position - 1)

        def read(connection):
            return SortKey(*snapshot(connection).execute(statement, limit=1).one())

        return transactions.read(read)

    return key_at


def executed(work):
    """Run `work` in a read and return its statements, with their parameters."""
    statements = []

    def record(connection, cursor, statement, parameters, *rest):
        if not statement.startswith("BEGIN"):
            statements.append((statement, parameters))

    event.listen(db.engine, "before_cursor_execute", record)
    work()
    event.remove(db.engine, "before_cursor_execute", record)
    return statements


def plan(work, table="standings"):
    """Return the steps of the query plan that read the table or sort."""
    explain = "EXPLAIN QUERY PLAN" if db.engine.dialect.name == "sqlite" else "EXPLAIN"
    statements = executed(lambda: transactions.read(work))

    def steps(connection):
        for statement, parameters in statements:
            for row in connection.exec_driver_sql(f"{explain} {statement}", parameters):
                yield row[-1].strip().removeprefix("->  ")

    found = transactions.read(lambda connection: list(steps(connection)))
    return [step for step in found if f" {table} " in step or "Sort" in step or "B-TREE" in step]


READS = {
    "top 10": lambda c, key: top10.read(c, [main_board(c)]),
    "page": lambda c, key: ranking.page(snapshot(c), 50, PageEnd(key, 1, 1, "")),
    "neighbours": lambda c, key: [
        ranking._read(snapshot(c), ranges, key, 5) for ranges in (ranking.BEFORE, ranking.AFTER)
    ],
    "rank": lambda c, key: ranking.rank_of(snapshot(c), key),
}


@pytest.mark.parametrize(
    ("name", "position"),
    [
        *((name, n) for name in READS for n in (1, PLAYERS // 2)),
        # To count most of the rows, Postgres reads the whole table.
        *((name, PLAYERS) for name in READS if name != "rank"),
    ],
)
def test_the_leaderboard_is_read_from_the_index_alone(seeded, name, position):
    key = seeded(position)

    steps = plan(lambda connection: READS[name](connection, key))

    start = "SEARCH standings USING COVERING INDEX standings_in_order (board_id=? AND season=?"
    if db.engine.dialect.name == "postgresql":
        start = "Index Only Scan"
    assert steps
    assert all(s.startswith(start) and "standings_in_order" in s for s in steps), steps


@pytest.mark.parametrize("before", [None, 2_000])
def test_past_scores_are_read_along_an_index(seeded, before):
    user_id = seeded(1).user_id

    steps = plan(lambda c: history.newest(c, user_id, MAIN, 50, before), table="scores")

    start = "SEARCH scores USING INDEX scores_of_user (user_id=? AND board_id=?"
    if db.engine.dialect.name == "postgresql":
        start = "Index Scan Backward using scores_of_user on scores"
    assert [step.startswith(start) for step in steps] == [True], steps


def test_the_total_is_counted_once_per_version_of_the_board(users):
    totals = []

    def read_twice():
        for size in (1, 2):
            standings.put([(1, 0, False)] * size)
            totals.extend(page(1)["total"] for _ in range(2))

    counts = [statement for statement, _ in executed(read_twice) if "count(" in statement]

    assert totals == [1, 1, 2, 2]
    assert len(counts) == 2


def test_the_next_page_of_an_unchanged_board_counts_nothing(users):
    standings.put([(1, 0, False)] * 10)
    cursor, positions = page(3)["next"], []

    def read_next():
        positions.extend(entry["position"] for entry in page(3, cursor)["entries"])

    statements = [statement for statement, _ in executed(read_next)]

    assert positions == [4, 5, 6]
    assert not [statement for statement in statements if "count(" in statement]


def test_sqlite_is_read_in_a_thread(users, monkeypatch):
    threads = []
    monkeypatch.setattr(
        runtime, "run_in_thread", lambda work, *args: threads.append(1) or work(*args)
    )

    page(1)

    assert len(threads) == (db.engine.dialect.name == "sqlite")
