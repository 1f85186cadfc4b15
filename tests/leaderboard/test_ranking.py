"""The ledger agrees with a model in plain Python, and the tables refuse invalid rows."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select

from config import POLICIES
from scoreboard.auth import accounts
from scoreboard.db import transactions
from scoreboard.errors import Replayed, UnknownUser
from scoreboard.models import MAIN, MAX_SCORE, MAX_TOTAL, Score, Standing, User
from scoreboard.scores.policy import apply, total
from scoreboard.scores.records import Receipt, Update
from tests.support.api import UNKNOWN_ID
from tests.support.ledgers import make_ledger, read_top10

START = datetime(2026, 1, 1, tzinfo=UTC)
PLAYERS = 12


class Model:
    """Policies, ties, late updates and replays as the contract defines them, in memory."""

    def __init__(self, policy):
        self.policy = policy
        self.seen = set()
        self.users = {}  # user_id: (score, arrival at which it was reached, timestamp)

    def update(self, update):
        """Return the score after the update and whether it was applied, or None for a replay."""
        if update.key in self.seen:
            return None
        self.seen.add(update.key)
        user_id, value, timestamp = update.user_id, update.score_value, update.achieved_at
        before, reached, newest = self.users.get(user_id, (None, None, None))
        score = value
        if before is not None:
            score = {
                "latest": value if timestamp >= newest else None,
                "best": value if value > before else None,
                "total": before + value,
            }[self.policy]
            if score is None:
                return before, False
        arrival = reached if score == before else len(self.seen)
        self.users[user_id] = score, arrival, timestamp
        return score, True

    def top10(self):
        ordered = sorted(
            (-score, reached, user) for user, (score, reached, _) in self.users.items()
        )
        return [{"user_id": user, "score": -score} for score, _, user in ordered[:10]]


@pytest.fixture
def user_ids(app):
    return [
        accounts.create(f"Player {n}", f"{n}@example.com", None, "player").user_id
        for n in range(PLAYERS)
    ]


steps = st.lists(
    st.tuples(
        st.integers(0, PLAYERS - 1),
        # At most 9 decimals, and exact when added as doubles.
        st.integers(-3, 3) | st.integers(-2048, 2048).map(lambda number: number / 512),
        st.integers(0, 4),
        st.none() | st.sampled_from(["nonce-01", "nonce-02"]),
    ),
    max_size=60,
)


def as_update(user_ids, player, value, minutes, nonce):
    user_id, timestamp = user_ids[player], START + timedelta(minutes=minutes)
    identity = nonce or f"{timestamp}/{float(value)}"
    return Update(user_id, float(value), timestamp, identity, user_id)


@pytest.mark.parametrize("policy", POLICIES)
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=steps, size=st.just(1) | st.integers(2, 20))
def test_the_ledger_agrees_with_the_model_in_batches_of_any_size(policy, user_ids, steps, size):
    transactions.transaction(lambda c: [c.execute(delete(table)) for table in (Standing, Score)])
    published, model = [], Model(policy)
    ledger = make_ledger(policy, published.append)
    updates = [as_update(user_ids, *step) for step in steps]

    for start in range(0, len(updates), size):
        batch = updates[start : start + size]
        expected = [model.update(update) for update in batch]
        outcomes = ledger.record_all(batch)

        assert [
            None if isinstance(each, Replayed) else (each.score, each.applied) for each in outcomes
        ] == expected
        scores = [outcome[0] for outcome in expected if outcome]
        sent, published[:] = [each.boards[MAIN].scores for each in published], []
        assert [[new.score for new in each] for each in sent] == ([scores] if scores else [])
        assert read_top10() == model.top10()


billionths = st.integers(-(10**6), 10**6) | st.integers(-(10**15), 10**15)
large = st.sampled_from([MAX_SCORE, -MAX_SCORE, 2**52]).map(lambda whole: whole * 10**9)


@given(values=st.lists(billionths | large, min_size=1, max_size=12), data=st.data())
def test_a_total_is_the_decimal_sum_in_any_order(values, data):
    """For values that are whole numbers of billionths, sent as doubles."""
    doubles = [each / 10**9 for each in values]
    expected = sum((Decimal(repr(each)) for each in doubles), Decimal(0))
    assume(abs(expected) < MAX_TOTAL)

    state = None
    for value in data.draw(st.permutations(doubles)):
        state = apply(total, state, value, START, START)

    assert Decimal(repr(state.score)) + Decimal(state.remainder).scaleb(-9) == expected
    if abs(expected) <= MAX_SCORE:
        assert state.score == float(expected)


def test_an_update_of_an_unknown_user_does_not_fail_the_others(user_ids):
    ledger = make_ledger()
    updates = [
        Update(user, 1.0, START, "x", user_ids[0])
        for user in (user_ids[0], UNKNOWN_ID, user_ids[1])
    ]

    outcomes = ledger.record_all(updates)

    assert [type(outcome) for outcome in outcomes] == [Receipt, UnknownUser, Receipt]


@pytest.mark.parametrize(
    "values",
    [
        {"user_id": UNKNOWN_ID},
        {"score_value": 2.0**53},
        {"score_value": float("inf")},
        {"identity": None},
        {"created_at": None},
        {"identity": "recorded before", "score_value": 2.0},
    ],
    ids=str,
)
def test_the_scores_table_refuses_invalid_rows(user_ids, values):
    row = {
        **{"user_id": user_ids[0], "submitted_by": user_ids[0], "identity": "recorded before"},
        **{"score_value": 1.0, "score": 1.0, "applied": True},
        **{"created_at": START, "achieved_at": START},
    }
    insert = Score.__table__.insert()
    transactions.transaction(lambda c: c.execute(insert, row))

    with pytest.raises(Exception, match="constraint"):
        transactions.transaction(lambda c: c.execute(insert, {**row, "identity": "x", **values}))


def test_the_users_table_refuses_an_unknown_role(user_ids):
    with pytest.raises(Exception, match="constraint"):
        accounts.create("Bob", "bob@example.com", None, "king")


def test_a_naive_datetime_is_refused(app):
    with pytest.raises(Exception, match="a moment needs an offset"):
        transactions.read(
            lambda c: c.execute(select(User).where(User.created_at < datetime(2026, 1, 1)))
        )
