"""List, rank and neighbours are of one order, and each is read by the index alone."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from scoreboard.cli.users import seed_players
from scoreboard.concurrency import runtime
from scoreboard.db import transactions as database
from scoreboard.extensions import db
from scoreboard.http.fields import moment
from scoreboard.leaderboard import ranking as leaderboard
from scoreboard.leaderboard import service as showing
from scoreboard.leaderboard import top10 as board
from scoreboard.leaderboard.ranking import Last, Middle, Place, View
from scoreboard.scores import history
from tests.support import standings

USERS = 14

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


def in_order(given_board):
    """Return the entries of the leaderboard as the contract has them, by counting."""
    visible = [
        (-score, minute, standings.user_id(number))
        for number, (score, minute, hidden) in enumerate(given_board)
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
    return json.loads(showing.page(query, None, ()).body)


@quick
@given(given_board=boards, limits=st.lists(st.integers(1, 6), min_size=USERS, max_size=USERS))
def test_list_rank_neighbours_and_top_10_never_disagree(users, given_board, limits):
    standings.put(given_board)
    expected = in_order(given_board)

    listed, cursor = [], None
    for limit in limits:
        told = page(limit, cursor)
        listed += told["entries"]
        cursor = told["next"]
        assert told["total"] == len(expected)
        if cursor is None:
            break
        assert len(told["entries"]) == limit

    assert listed == expected
    top = [(entry.user_id, entry.score) for entry in database.read(board.top)]
    assert top == [(entry["user_id"], entry["score"]) for entry in expected[:10]]
    for around, entry in zip(limits, expected, strict=False):
        place = entry["position"] - 1
        told = json.loads(showing.neighbours(entry["user_id"], {"around": around}, None, ()).body)
        assert told == {
            "entry": entry,
            "entries": expected[max(0, place - around) : place + around + 1],
            "total": len(expected),
        }


@quick
@given(
    before=boards, after=boards, first=st.integers(1, 6), second=st.integers(1, 6), data=st.data()
)
def test_a_page_after_a_change_is_of_the_board_as_it_is_then(
    users, before, after, first, second, data
):
    standings.put(before)
    told = page(first)
    cursor, last = told["next"], told["entries"][-1:]
    if cursor is None:
        return

    standings.put(after)

    def key(entry):
        return -entry["score"], entry["reached_at"], entry["user_id"]

    expected = [entry for entry in in_order(after) if key(entry) > key(last[0])]
    told = page(second, cursor)
    assert told["entries"] == expected[:second]
    assert (told["next"] is None) == (len(expected) <= second)


@quick
@given(given_board=boards, shift=st.sampled_from([-2, -1, 0, 1, 2**53]))
def test_a_rank_is_the_same_from_whichever_end_it_is_counted(users, given_board, shift):
    standings.put(given_board)
    middle = Middle()
    middle.score = shift

    for entry in in_order(given_board):

        def find(connection, user_id=entry["user_id"]):
            total = leaderboard.total(connection)
            return leaderboard.neighbours(View(connection, "", total, middle), user_id, 0)[0]

        found = database.read(find)
        assert (found.rank, found.position) == (entry["rank"], entry["position"])


def test_the_middle_is_learned_from_what_was_counted():
    middle = Middle()

    middle.learn(50.0, position=500, total=1000)
    assert middle.score < 50
    middle.learn(10.0, position=900, total=1000)
    middle.learn(40.0, position=600, total=1000)
    middle.learn(20.0, position=800, total=1000)
    assert middle.score == 40

    middle.learn(30.0, position=100, total=1000)
    assert middle.score < 10


@pytest.fixture
def seeded(app):
    """Return a function that reads the place at a position among five thousand."""
    seed_players(5_000, scores=True)
    if db.engine.dialect.name == "postgresql":
        with db.engine.connect() as connection:  # below SQLAlchemy, which would begin
            connection.connection.dbapi_connection.execute("VACUUM ANALYZE")

    def place_at(position):
        first = leaderboard.FIRST[0].offset(position - 1)
        return database.read(lambda c: Place(*c.execute(first, {"most": 1}).one()))

    return place_at


def plan(work, table="standings"):
    """Return how the database reads the table for this work: the steps that touch it, and sorts."""
    explain = "EXPLAIN QUERY PLAN" if db.engine.dialect.name == "sqlite" else "EXPLAIN"
    executed = []

    def note(connection, cursor, statement, parameters, *rest):
        if not statement.startswith("BEGIN"):
            executed.append((statement, parameters))

    def explained(connection):
        for statement, parameters in list(executed):
            for row in connection.exec_driver_sql(f"{explain} {statement}", parameters):
                yield row[-1].strip().removeprefix("->  ")

    event.listen(db.engine, "before_cursor_execute", note)
    database.read(work)
    event.remove(db.engine, "before_cursor_execute", note)
    steps = database.read(lambda connection: list(explained(connection)))
    return [step for step in steps if f" {table} " in step or "Sort" in step or "B-TREE" in step]


def view(connection, middle=None):
    return View(connection, "", 5_000, middle or Middle())


@pytest.mark.parametrize("position", [1, 2_500, 4_900])
def test_a_page_is_a_walk_along_the_index(seeded, position):
    last = Last(seeded(position), 1, 1, "")

    steps = plan(lambda c: leaderboard.page(view(c), 50, last))

    assert steps
    assert all(is_walk(step) for step in steps), steps


@pytest.mark.parametrize("position", [1, 2_500, 5_000])
def test_neighbours_are_walks_along_the_index(seeded, position):
    place = seeded(position)

    steps = plan(
        lambda c: (
            leaderboard._along(c, leaderboard.BEFORE, place, 5),
            leaderboard._along(c, leaderboard.AFTER, place, 5),
        )
    )

    assert steps
    assert all(is_walk(step) for step in steps), steps


@pytest.mark.parametrize("position", [1, 1_250, 2_400, 2_600, 3_750, 5_000])
def test_a_rank_is_a_count_within_the_index(seeded, position):
    place, middle = seeded(position), Middle()
    middle.score = seeded(2_501).score

    steps = plan(lambda c: leaderboard._numbers(view(c, middle), place))

    assert len(steps) >= 3
    assert all(is_walk(step) for step in steps), steps


def is_walk(step):
    """Whether a step reads nothing but the index, from where a condition leads to."""
    if db.engine.dialect.name == "sqlite":
        return step.startswith(
            "SEARCH standings USING COVERING INDEX standings_in_order (hidden=? AND score"
        )
    return step.startswith("Index Only Scan") and "using standings_in_order on standings" in step


@pytest.mark.parametrize("before", [None, 2_000])
def test_past_scores_are_a_walk_along_an_index(seeded, before):
    user_id = seeded(1).user_id

    steps = plan(lambda c: history.newest(c, user_id, 50, before), table="scores")

    start = "SEARCH scores USING INDEX scores_of_user (user_id=?"
    if db.engine.dialect.name == "postgresql":
        start = "Index Scan Backward using scores_of_user on scores"
    assert [step.startswith(start) for step in steps] == [True], steps


def test_the_total_is_counted_once_for_a_version_of_the_board(app, users):
    counted = []

    def note(connection, cursor, statement, *rest):
        counted.append("count(" in statement)

    event.listen(db.engine, "before_cursor_execute", note)
    standings.put([(1, 0, False)])
    first = [page(1)["total"] for _ in range(10)]
    standings.put([(1, 0, False), (2, 0, False)])
    second = [page(2)["total"] for _ in range(10)]

    assert (first, second) == ([1] * 10, [2] * 10)
    assert sum(counted) == 2


def test_a_next_page_of_the_same_board_counts_nothing(app, users):
    standings.put([(1, 0, False)] * 10)
    cursor = page(3)["next"]
    executed = []
    event.listen(db.engine, "before_cursor_execute", lambda *given: executed.append(given[2]))

    told = page(3, cursor)

    assert [entry["position"] for entry in told["entries"]] == [4, 5, 6]
    assert not [statement for statement in executed if "count(" in statement]


def test_reads_of_the_board_leave_the_loop_where_the_database_blocks_it(app, users, monkeypatch):
    left = []
    monkeypatch.setattr(
        runtime, "run_in_thread", lambda *given: left.append(given) or given[0](given[1])
    )

    showing._Reads().ask(lambda board_as_it_is: None)

    assert len(left) == (db.engine.dialect.name == "sqlite")
