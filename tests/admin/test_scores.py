"""Scores that an admin enters by hand, and voided scores that an admin restores."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import delete, select

from config import POLICIES
from scoreboard.db import transactions
from scoreboard.models import MAX_SCORE, Score, Standing
from scoreboard.scores import history
from scoreboard.scores.records import Update
from scoreboard.services import services
from tests.support.responses import status_and_code

START = datetime(2026, 1, 1, tzinfo=UTC)
LATEST_AND_TOTAL = pytest.mark.parametrize(
    "settings", [{"SCORE_POLICY": "latest"}, {"SCORE_POLICY": "total"}], ids=["latest", "total"]
)


@pytest.fixture
def enter(client, admin):
    """Return a function by which the admin enters a score for a user."""

    def enter(user, **fields):
        body = {"user_id": user.user_id, "reason": "on paper", **fields}
        return client.post("/api/admin/scores", json=body, headers=admin.bearer)

    return enter


@pytest.fixture
def moderate(client, admin):
    """Return a function by which the admin voids or restores a score."""

    def moderate(action, score_id):
        body = {"reason": "cheated"} if action == "void" else None
        url = f"/api/admin/scores/{score_id}/{action}"
        return client.post(url, json=body, headers=admin.bearer)

    return moderate


def post(client, user, value, timestamp="2026-01-01T00:00:00Z"):
    """Submit a score; return the receipt."""
    update = user.update(value, timestamp)
    return client.post("/api/score/update", json=update, headers=user.bearer).json


def top10(client):
    entries = client.get("/api/score/top10").json["top_10_scores"]
    return [(entry["user_id"], entry["score"]) for entry in entries]


def newest(subscriber):
    """Return the user ids and scores of the newest message, a top 10."""
    entries = subscriber.messages()[-1]["data"]["top_10_scores"]
    return [(entry["user_id"], entry["score"]) for entry in entries]


class TestByHand:
    def test_the_receipt_is_returned_and_the_score_is_pushed(
        self, client, player, enter, subscriber
    ):
        response = enter(player, score_value=7)

        receipt = dict(response.json)
        assert response.status_code == 201
        assert receipt.pop("score_id")
        assert datetime.fromisoformat(receipt.pop("created_at"))
        assert receipt == {"user_id": player.user_id, "score": 7, "applied": True}
        assert top10(client) == newest(subscriber) == [(player.user_id, 7)]

    def test_the_user_can_be_named(self, client, admin, make_user):
        ann = make_user(name="Ann")
        body = {"username": " ANN ", "score_value": 7, "reason": "on paper"}

        response = client.post("/api/admin/scores", json=body, headers=admin.bearer)

        assert response.json["user_id"] == ann.user_id

    @pytest.mark.parametrize(
        ("named", "field"),
        [({"username": "nobody"}, "username"), ({"user_id": f"{0:08}-0000-4000-8000-{0:012}"}, "")],
    )
    def test_an_unknown_user_is_refused(self, client, admin, audit_lines, named, field):
        body = {**named, "score_value": 7, "reason": "on paper"}

        response = client.post("/api/admin/scores", json=body, headers=admin.bearer)

        assert status_and_code(response) == (400, "unknown_user")
        assert [*response.json["error"]["fields"]] == [field or "user_id"]
        assert audit_lines() == []

    def test_it_counts_as_of_now_under_latest(self, client, player, enter):
        ahead = (datetime.now(UTC) + timedelta(minutes=4)).isoformat()
        post(client, player, 100, ahead)

        enter(player, score_value=50)

        assert top10(client) == [(player.user_id, 50)]

    @LATEST_AND_TOTAL
    def test_a_change_is_added_exactly_to_the_current_score(self, client, player, enter):
        post(client, player, 0.1)

        receipts = [enter(player, change=change).json for change in (0.2, -1)]

        assert [receipt["score"] for receipt in receipts] == [0.3, -0.7]

    @LATEST_AND_TOTAL
    def test_a_change_of_a_user_without_a_score_starts_at_zero(self, player, enter):
        assert enter(player, change=5).json["score"] == 5

    @LATEST_AND_TOTAL
    def test_changes_at_once_all_count(self, app, admin, player):
        ledger = services(app).ledgers.get()

        def add(number):
            made = Update(
                *(player.user_id, 1.0, START, f"hand:{number}", admin.user_id),
                by_hand=True,
                is_change=True,
            )
            with app.app_context():
                return ledger.record(made).score

        with ThreadPoolExecutor(4) as pool:
            scores = sorted(pool.map(add, range(20)))

        assert scores == [*range(1, 21)]

    @pytest.mark.parametrize("settings", [{"SCORE_POLICY": "best"}])
    def test_a_best_score_cannot_be_changed(self, client, player, enter):
        post(client, player, 7)

        response = enter(player, change=5)

        assert status_and_code(response) == (400, "invalid_input")
        assert [*response.json["error"]["fields"]] == ["change"]
        assert top10(client) == [(player.user_id, 7)]

    @LATEST_AND_TOTAL
    def test_the_result_of_a_change_stays_exact(self, client, player, enter):
        post(client, player, MAX_SCORE)

        response = enter(player, change=5)

        assert status_and_code(response) == (400, "invalid_input")
        assert [*response.json["error"]["fields"]] == ["change"]

    @pytest.mark.parametrize("settings", [{"SCORE_MAX": "100", "SCORE_SUBMIT": "scorer"}])
    def test_the_bounds_hold_but_not_who_submits(self, enter, player):
        assert enter(player, score_value=90).status_code == 201

        for fields, field in [({"score_value": 101}, "score_value"), ({"change": 11}, "change")]:
            response = enter(player, **fields)
            assert status_and_code(response) == (400, "score_out_of_range")
            assert [*response.json["error"]["fields"]] == [field]

    @pytest.mark.parametrize("settings", [{"SCORE_RATE_LIMIT": "1/hour"}])
    def test_no_rate_limit_applies(self, client, player, enter):
        for value in range(3):
            assert enter(player, score_value=value).status_code == 201

        assert post(client, player, 7)["score_id"]

    @pytest.mark.parametrize(
        ("fields", "code"),
        [
            ({"closes_at": "2026-01-02T00:00:00Z"}, "board_closed"),
            ({"source": "main"}, "board_derived"),
            (None, "unknown_board"),
        ],
    )
    def test_a_board_that_takes_no_updates_takes_none_by_hand(
        self, client, admin, player, enter, fields, code
    ):
        if fields:
            board = {"board_id": "weekly", "title": "Weekly", **fields}
            client.post("/api/admin/boards", json=board, headers=admin.bearer)

        response = enter(player, score_value=7, board="weekly")

        assert status_and_code(response) == (400, code)

    def test_it_is_audited_with_its_reason_and_is_no_attempt(
        self, player, admin, enter, audit_lines
    ):
        score_id = enter(player, change=7).json["score_id"]

        (line,) = audit_lines()
        found = {name: line[name] for name in ("event", "act", "caller", "user_id", "score_id")}
        assert found == {
            "event": "moderation",
            "act": "score by hand",
            "caller": admin.user_id,
            "user_id": player.user_id,
            "score_id": score_id,
        }
        assert (line["reason"], line["board"], line["change"]) == ("on paper", "main", 7)


class TestRestore:
    def test_the_score_counts_again_at_once(self, client, player, moderate, subscriber):
        post(client, player, 7)
        second = post(client, player, 900, "2026-01-01T00:01:00Z")
        moderate("void", second["score_id"])

        response = moderate("restore", second["score_id"])

        assert (response.status_code, response.json) == (
            200,
            {
                "score_id": second["score_id"],
                "user_id": player.user_id,
                "score_value": 900,
                "created_at": second["created_at"],
            },
        )
        assert top10(client) == newest(subscriber) == [(player.user_id, 900)]

    def test_the_only_score_returns_to_its_place_in_a_tie(self, client, make_user, moderate):
        first, second = make_user(), make_user()
        score_id = post(client, first, 7)["score_id"]
        post(client, second, 7)
        moderate("void", score_id)

        moderate("restore", score_id)

        assert top10(client) == [(first.user_id, 7), (second.user_id, 7)]

    def test_the_only_score_of_a_hidden_user_stays_hidden(self, client, admin, player, moderate):
        score_id = post(client, player, 7)["score_id"]
        url = f"/api/admin/users/{player.user_id}"
        moderate("void", score_id)
        client.post(f"{url}/hide", headers=admin.bearer)

        moderate("restore", score_id)

        hidden = top10(client)
        client.post(f"{url}/restore", headers=admin.bearer)
        assert (hidden, top10(client)) == ([], [(player.user_id, 7)])

    def test_a_score_that_is_not_voided_cannot_be_restored(
        self, client, player, moderate, audit_lines
    ):
        score_id = post(client, player, 7)["score_id"]
        before = len(audit_lines())

        response = moderate("restore", score_id)

        assert status_and_code(response) == (409, "not_voided")
        assert len(audit_lines()) == before

    @pytest.mark.parametrize("settings", [{"SCORE_POLICY": "total"}])
    def test_a_total_stays_in_its_range(self, client, player, moderate):
        first = post(client, player, MAX_SCORE)
        moderate("void", first["score_id"])
        post(client, player, MAX_SCORE, "2026-01-01T00:01:00Z")

        response = moderate("restore", first["score_id"])

        assert status_and_code(response) == (409, "out_of_range")
        assert top10(client) == [(player.user_id, MAX_SCORE)]

    def test_it_is_audited(self, client, player, admin, moderate, audit_lines):
        score_id = post(client, player, 7)["score_id"]
        moderate("void", score_id)

        moderate("restore", score_id)

        line = audit_lines()[-1]
        assert (line["act"], line["caller"]) == ("restore-score", admin.user_id)
        assert (line["user_id"], line["score_id"]) == (player.user_id, score_id)

    def test_admins_see_why_a_score_is_voided(self, client, player, admin, scorer, moderate):
        moderate("void", post(client, player, 7)["score_id"])
        url = f"/api/users/{player.user_id}/scores"

        shown = {
            each.user_id: client.get(url, headers=each.bearer) for each in (player, scorer, admin)
        }

        (score,) = shown[admin.user_id].json["scores"]
        assert score["voided_at"]
        assert score["void_reason"] == "cheated"
        for each in (player, scorer):
            assert "void_reason" not in shown[each.user_id].json["scores"][0]
            assert shown[each.user_id].headers["ETag"] != shown[admin.user_id].headers["ETag"]


def standing(user_id):
    statement = select(Standing.__table__).where(Standing.user_id == user_id)
    return transactions.read(lambda c: c.execute(statement).one_or_none())


@pytest.mark.parametrize(
    ("policy", "settings"), [(name, {"SCORE_POLICY": name}) for name in POLICIES], ids=POLICIES
)
@hypothesis_settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    updates=st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 3)), min_size=1, max_size=8),
    data=st.data(),
)
def test_restoring_all_voided_scores_gives_the_standing_from_before(
    app, policy, player, updates, data, monkeypatch
):
    monkeypatch.setattr(history, "CHUNK_SIZE", 3)  # so that some histories take several reads
    transactions.transaction(lambda c: [c.execute(delete(table)) for table in (Standing, Score)])
    ledger = services(app).ledgers.get()
    ids = []
    for number, (value, minute) in enumerate(updates):
        timestamp = START + timedelta(minutes=minute)
        made = Update(player.user_id, float(value), timestamp, f"{number}", player.user_id)
        ids.append(ledger.record(made).score_id)
    before = standing(player.user_id)

    voided = data.draw(st.lists(st.sampled_from(ids), unique=True))
    for score_id in voided:
        history.void(score_id, None, "why")
    for score_id in data.draw(st.permutations(voided)):
        history.restore(score_id)

    assert standing(player.user_id) == before
