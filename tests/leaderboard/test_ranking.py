"""The order of the board against a model in plain Python, and how it is read."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select

from scoreboard.auth import accounts
from scoreboard.cli.users import seed_players
from scoreboard.db import transactions as database
from scoreboard.errors import Replayed, ScoreboardError
from scoreboard.extensions import db
from scoreboard.leaderboard import top10 as board
from scoreboard.models import MAX_SCORE, MAX_TOTAL, Score, Standing, User
from scoreboard.scores import policy as policy_of_scores
from scoreboard.scores.ledger import Ledger
from scoreboard.scores.policy import POLICIES
from scoreboard.scores.records import Update

START = datetime(2026, 1, 1, tzinfo=UTC)
PLAYERS = 12
# A row of the history, but for whose it is.
WHOLE = {
    "score_value": 1.0,
    "created_at": START,
    "achieved_at": START,
    "identity": "x",
    "score": 1.0,
    "applied": True,
}


class Model:
    """What the contract says of policies, ties, late updates and replays; nothing of databases."""

    def __init__(self, policy):
        self.policy = policy
        self.seen = set()
        self.users = {}  # user_id: [score, arrival at which it was reached, timestamp]
        self.arrivals = 0

    def update(self, user_id, value, timestamp, identity):
        """Return the score after the update and whether this one set it, or None for a replay."""
        if (user_id, identity) in self.seen:  # all by one submitter
            return None
        self.seen.add((user_id, identity))
        self.arrivals += 1
        if user_id not in self.users:
            self.users[user_id] = [value, self.arrivals, timestamp]
            return value, True
        user = self.users[user_id]
        score = {
            "latest": value if timestamp >= user[2] else None,
            "best": value if value > user[0] else None,
            "total": user[0] + value,
        }[self.policy]
        if score is None:
            return user[0], False
        self.users[user_id] = [score, user[1] if score == user[0] else self.arrivals, timestamp]
        return score, True

    def top10(self):
        ranked = sorted((-score, reached, user) for user, (score, reached, _) in self.users.items())
        return [(user, -score) for score, reached, user in ranked[:10]]


@pytest.fixture
def user_ids(app):
    return [
        accounts.create(f"Player {n}", f"{n}@example.com", None, "player").user_id
        for n in range(PLAYERS)
    ]


updates = st.lists(
    st.tuples(
        st.integers(0, PLAYERS - 1),
        # Of at most 9 decimals, and nothing is lost where they are added up as doubles.
        st.integers(-3, 3) | st.integers(-2048, 2048).map(lambda number: number / 512),
        st.integers(0, 4),
        st.none() | st.sampled_from(["nonce-01", "nonce-02"]),
    ),
    max_size=60,
)


@pytest.mark.parametrize("policy", POLICIES)
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(updates=updates)
def test_the_ledger_agrees_with_the_model(policy, user_ids, updates):
    database.transaction(lambda c: [c.execute(delete(table)) for table in (Standing, Score)])
    published = []
    ledger = Ledger(POLICIES[policy], published.append)
    model = Model(policy)

    for player, value, minutes, nonce in updates:
        user_id, timestamp = user_ids[player], START + timedelta(minutes=minutes)
        identity = nonce or f"{timestamp}/{float(value)}"
        update = Update(user_id, float(value), timestamp, identity, user_id)
        expected = model.update(user_id, value, timestamp, identity)
        try:
            receipt = ledger.record(update)
            told = (receipt.score, receipt.applied)
        except Replayed:
            told = None

        assert told == expected
        batches, published[:] = list(published), []
        assert [update["new_score"] for batch in batches for update in batch.updates] == (
            [told[0]] if told else []
        )
        assert len(batches) == (told is not None)
        entries = board.top10(database.read(board.top))["top_10_scores"]
        assert [(entry["user_id"], entry["score"]) for entry in entries] == model.top10()


@pytest.mark.parametrize("policy", POLICIES)
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(updates=updates, size=st.integers(2, 20))
def test_updates_recorded_together_come_to_the_same(policy, user_ids, updates, size):
    """One transaction for many has the outcomes of one after the other."""
    database.transaction(lambda c: [c.execute(delete(table)) for table in (Standing, Score)])
    ledger = Ledger(POLICIES[policy], lambda batch: None)
    model, expected, rows = Model(policy), [], []
    for player, value, minutes, nonce in updates:
        user_id, timestamp = user_ids[player], START + timedelta(minutes=minutes)
        identity = nonce or f"{timestamp}/{float(value)}"
        rows.append(Update(user_id, float(value), timestamp, identity, user_id))
        expected.append(model.update(user_id, value, timestamp, identity))

    told = []
    for start in range(0, len(rows), size):
        outcomes, _ = ledger._commit(rows[start : start + size])
        told += [
            None if isinstance(outcome, ScoreboardError) else (outcome.score, outcome.applied)
            for outcome in outcomes
        ]

    assert told == expected
    top = database.read(board.top)
    assert [(entry.user_id, entry.score) for entry in top] == model.top10()


billionths = st.integers(-(10**6), 10**6) | st.integers(-(10**15), 10**15)
large = st.sampled_from([MAX_SCORE, -MAX_SCORE, 2**52]).map(lambda whole: whole * 10**9)


@given(values=st.lists(billionths | large, min_size=1, max_size=12), data=st.data())
def test_a_total_is_the_decimal_sum_in_any_order(values, data):
    """Of values that are whole numbers of billionths, as the doubles that clients send."""
    doubles = [each / 10**9 for each in values]
    expected = sum((Decimal(repr(each)) for each in doubles), Decimal(0))
    assume(abs(expected) < MAX_TOTAL)
    order = data.draw(st.permutations(doubles))

    now = None
    for value in order:
        now = policy_of_scores.apply(POLICIES["total"], now, value, START, START)

    assert Decimal(repr(now.score)) + Decimal(now.remainder).scaleb(-9) == expected
    if abs(expected) <= MAX_SCORE:
        assert now.score == float(expected)


def test_one_update_for_nobody_does_not_fail_its_neighbours(app, user_ids):
    ledger = Ledger(POLICIES["latest"], lambda batch: None)
    nobody = "00000000-0000-4000-8000-000000000000"
    rows = [
        Update(user, 1.0, START, "x", user_ids[0]) for user in (user_ids[0], nobody, user_ids[1])
    ]

    outcomes, _ = ledger._commit(rows)

    codes = [getattr(outcome, "code", "accepted") for outcome in outcomes]
    assert codes == ["accepted", "unknown_user", "accepted"]


def plan(statement):
    """Return the plan of reading with this statement, a line each step."""
    name = db.engine.dialect.name
    compiled = statement.compile(db.engine, compile_kwargs={"literal_binds": True})
    explain = "EXPLAIN QUERY PLAN" if name == "sqlite" else "EXPLAIN"
    rows = database.read(lambda c: c.exec_driver_sql(f"{explain} {compiled}").all())
    return [row[-1].strip() for row in rows]


def test_reading_the_top_10_neither_scans_nor_sorts_the_table(app):
    seed_players(5_000, scores=True)
    if db.engine.dialect.name == "postgresql":
        with db.engine.connect() as connection:  # below SQLAlchemy, which would begin
            connection.connection.dbapi_connection.execute("VACUUM ANALYZE standings")

    steps = plan(board.TOP_STATEMENT)

    if db.engine.dialect.name == "sqlite":
        index = "SEARCH standings USING COVERING INDEX standings_in_order (hidden=?)"
        assert steps == [index]
    else:
        assert steps[0].startswith("Limit")
        assert steps[1].startswith("->  Index Only Scan using standings_in_order on standings")


@pytest.mark.parametrize(
    "row",
    [
        {"user_id": "00000000-0000-4000-8000-000000000000"},
        {"score_value": 2.0**53},
        {"score_value": float("inf")},
        {"identity": None},
        {"created_at": None},
    ],
    ids=str,
)
def test_the_table_itself_refuses_what_must_never_be_stored(app, user_ids, row):
    whole = {**WHOLE, "user_id": user_ids[0], "submitted_by": user_ids[0], **row}
    statement = Score.__table__.insert()

    with pytest.raises(Exception, match="constraint"):
        database.transaction(lambda c: c.execute(statement, whole))


def test_the_table_itself_refuses_a_second_row_of_one_identity(app, user_ids):
    update = {**WHOLE, "user_id": user_ids[0], "submitted_by": user_ids[0]}
    statement = Score.__table__.insert()
    database.transaction(lambda c: c.execute(statement, update))

    again = {**update, "created_at": START + timedelta(seconds=1), "score_value": 2.0}
    with pytest.raises(Exception, match="constraint"):
        database.transaction(lambda c: c.execute(statement, again))


def test_a_role_that_does_not_exist_is_refused_by_the_table(app, user_ids):
    with pytest.raises(Exception, match="constraint"):
        accounts.create("Bob", "bob@example.com", None, "king")


def test_a_naive_moment_is_refused(app):
    with pytest.raises(Exception, match="a moment needs an offset"):
        database.read(
            lambda c: c.execute(select(User).where(User.created_at < datetime(2026, 1, 1)))
        )
