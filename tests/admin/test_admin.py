"""Moderation: immediate, logged, and for admins only."""

import functools
import time
from datetime import UTC, datetime, timedelta

import pytest
import requests
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import delete, select, update

from config import POLICIES
from scoreboard.anomalies import flags
from scoreboard.auth import passwords
from scoreboard.db import transactions
from scoreboard.errors import Conflict, ServerError
from scoreboard.models import MAX_SCORE, Score, Standing
from scoreboard.scores import history
from scoreboard.scores.records import Update
from scoreboard.services import services
from tests.support.responses import status_and_code
from tests.support.servers import PASSWORD
from tests.support.subscribers import SocketIoClient, WebSocketClient
from tests.support.tokens import bearer, mint

START = datetime(2026, 1, 1, tzinfo=UTC)
UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"
ACTIONS = ["hide", "restore", "end-sessions", "suspend", "reinstate"]
REVOKED = 401, "token_revoked"


@pytest.fixture
def act(client, admin):
    """Return a function by which the admin moderates a user."""

    def act(user, action, **body):
        url = f"/api/admin/users/{user.user_id}/{action}"
        return client.post(url, json=body, headers=admin.bearer)

    return act


@pytest.fixture
def void(client, admin):
    """Return a function by which the admin voids a score."""

    def void(score_id, reason="cheated"):
        url = f"/api/admin/scores/{score_id}/void"
        return client.post(url, json={"reason": reason}, headers=admin.bearer)

    return void


def post(client, user, value, minute=0):
    """Submit a score reached in this minute; return the response body."""
    body = user.update(value, f"2026-01-01T00:{minute:02}:00Z")
    return client.post("/api/score/update", json=body, headers=user.bearer).json


def top10(client):
    entries = client.get("/api/score/top10").json["top_10_scores"]
    return [(entry["user_id"], entry["score"]) for entry in entries]


def top_10_update(*entries):
    scores = [{"user_id": user.user_id, "score": score} for user, score in entries]
    return {"type": "top_10_update", "data": {"top_10_scores": scores}}


def me(client, token):
    return client.get("/api/auth/me", headers=bearer(token))


def score_row(score_id):
    statement = select(Score.__table__).where(Score.score_id == score_id)
    return transactions.read(lambda c: c.execute(statement).one())


def set_score(score_id, **values):
    statement = update(Score).where(Score.score_id == score_id).values(**values)
    transactions.transaction(lambda connection: connection.execute(statement))


def standing(user_id):
    statement = select(Standing.__table__).where(Standing.user_id == user_id)
    return transactions.read(lambda c: c.execute(statement).one_or_none())


class TestHide:
    def test_a_hidden_user_leaves_the_board_at_once(self, client, player, act, subscriber):
        post(client, player, 7)

        response = act(player, "hide")

        assert (response.status_code, response.json["hidden"]) == (200, True)
        assert top10(client) == []
        assert subscriber.messages()[-1] == top_10_update()

    def test_the_eleventh_user_moves_into_the_top_10(self, client, scorer, make_user, act):
        users = [make_user() for _ in range(11)]
        for score, user in enumerate(users):
            client.post("/api/score/update", json=user.update(score), headers=scorer.bearer)

        act(users[10], "hide")

        assert [score for _, score in top10(client)] == [*range(9, -1, -1)]

    def test_a_user_can_be_hidden_before_the_first_score(self, client, player, act):
        act(player, "hide")

        post(client, player, 7)

        assert top10(client) == []

    def test_scores_count_while_hidden_and_show_when_restored(
        self, client, player, act, subscriber
    ):
        post(client, player, 7)
        act(player, "hide")
        count = len(subscriber.messages())

        receipt = post(client, player, 9, minute=1)
        response = act(player, "restore")

        assert (receipt["score"], receipt["applied"]) == (9, True)
        assert (response.status_code, response.json["hidden"]) == (200, False)
        assert top10(client) == [(player.user_id, 9)]
        assert subscriber.messages()[count:] == [top_10_update((player, 9))]

    def test_actions_can_be_repeated_and_keep_the_order_of_a_tie(self, client, make_user, act):
        first, second = make_user(), make_user()
        post(client, first, 7)
        post(client, second, 7)

        for action in ("hide", "hide", "restore", "restore"):
            assert act(first, action).status_code == 200

        assert top10(client) == [(first.user_id, 7), (second.user_id, 7)]


class TestVoid:
    def test_the_previous_score_counts_again(self, client, player, admin, void, subscriber):
        post(client, player, 7)
        receipt = post(client, player, 900, minute=1)

        response = void(receipt["score_id"], "cheated")

        assert response.status_code == 200
        voided = dict(response.json)
        assert datetime.fromisoformat(voided.pop("voided_at"))
        assert voided == {
            "score_id": receipt["score_id"],
            "user_id": player.user_id,
            "score_value": 900,
            "created_at": receipt["created_at"],
            "voided_by": admin.user_id,
            "void_reason": "cheated",
        }
        assert top10(client) == [(player.user_id, 7)]
        assert subscriber.messages()[-1] == top_10_update((player, 7))

    def test_a_user_without_other_scores_is_off_the_board_until_the_next(
        self, client, player, void
    ):
        void(post(client, player, 7)["score_id"])
        after_void = top10(client), standing(player.user_id)

        receipt = post(client, player, 5, minute=1)

        assert after_void == ([], None)
        assert receipt["score"] == 5
        assert top10(client) == [(player.user_id, 5)]

    def test_a_hidden_user_stays_hidden(self, client, player, act, void):
        post(client, player, 7)
        second = post(client, player, 9, minute=1)
        act(player, "hide")

        void(second["score_id"])

        assert top10(client) == []
        act(player, "restore")
        assert top10(client) == [(player.user_id, 7)]

    def test_a_score_is_voided_once(self, client, player, void, audit_lines):
        score_id = post(client, player, 7)["score_id"]
        void(score_id, "first")

        response = void(score_id, "second")

        assert status_and_code(response) == (409, "already_voided")
        assert score_row(score_id).void_reason == "first"
        _, line = audit_lines()
        assert (line["act"], line["reason"]) == ("void", "first")
        assert (line["user_id"], line["score_id"]) == (player.user_id, score_id)

    def test_a_voided_update_sent_again_is_a_replay(self, client, player, void):
        void(post(client, player, 7)["score_id"])

        assert post(client, player, 7)["error"]["code"] == "replayed"
        assert top10(client) == []

    def test_a_void_that_leaves_the_score_unchanged_sends_nothing(
        self, client, player, void, subscriber
    ):
        receipt = post(client, player, 7)
        post(client, player, 9, minute=1)
        before = subscriber.messages()

        void(receipt["score_id"])

        assert subscriber.messages() == before

    @pytest.mark.parametrize("settings", [{"SCORE_POLICY": "total"}])
    def test_a_void_that_would_take_the_total_out_of_range_is_refused(self, client, player, void):
        post(client, player, MAX_SCORE)
        negative = post(client, player, -MAX_SCORE, minute=1)
        post(client, player, MAX_SCORE, minute=2)

        response = void(negative["score_id"])

        assert status_and_code(response) == (409, "out_of_range")
        assert top10(client) == [(player.user_id, MAX_SCORE)]
        assert score_row(negative["score_id"]).voided_at is None

    @pytest.mark.parametrize("settings", [{"SCORE_POLICY": "total"}])
    @pytest.mark.parametrize(
        ("values", "voided", "total"),
        [
            ([-10, MAX_SCORE, 10, -100], 0, MAX_SCORE - 90),  # partial sums leave the range
            ([0.1, MAX_SCORE - 1, 0.2], 1, 0.3),
        ],
    )
    def test_the_remaining_total_is_exact(self, client, player, void, values, voided, total):
        receipts = [post(client, player, value, minute) for minute, value in enumerate(values)]

        response = void(receipts[voided]["score_id"])

        assert response.status_code == 200
        assert top10(client) == [(player.user_id, total)]


def expected_standing(policy, rows):
    """Return the standing after these (score id, value, arrival, timestamp), None without any."""
    current = None
    for score_id, value, arrival, timestamp in rows:
        if current is None:
            current = (value, arrival, timestamp, score_id)
            continue
        score = {
            "latest": value if timestamp >= current[2] else None,
            "best": value if value > current[0] else None,
            "total": current[0] + value,
        }[policy]
        if score is not None:
            reached_at = current[1] if score == current[0] else arrival
            current = (score, reached_at, timestamp, score_id)
    return current


@pytest.fixture
def user_ids(make_user):
    return [make_user().user_id for _ in range(3)]


# With the application's setting of that policy.
BY_POLICY = pytest.mark.parametrize(
    ("policy", "settings"), [(name, {"SCORE_POLICY": name}) for name in POLICIES], ids=POLICIES
)
# Updates as (user, value, minute), and voids of one of the remaining scores.
steps = st.lists(
    st.tuples(
        st.integers(0, 2),
        # Values with at most 9 decimals whose sums are exact as doubles.
        st.integers(-2, 2) | st.integers(-1536, 1536).map(lambda number: number / 512),
        st.integers(0, 3),
    )
    | st.integers(0, 1000).map(lambda place: ("void", place)),
    max_size=40,
)


@BY_POLICY
@hypothesis_settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=steps)
def test_after_any_voids_the_standing_follows_from_the_remaining_scores(
    app, policy, user_ids, steps, monkeypatch
):
    monkeypatch.setattr(history, "CHUNK_SIZE", 3)  # so that most histories take several reads
    transactions.transaction(lambda c: [c.execute(delete(table)) for table in (Standing, Score)])
    ledger = services(app).ledgers.get()
    remaining = {user_id: [] for user_id in user_ids}

    for number, step in enumerate(steps):
        if step[0] == "void":
            candidates = sorted((row, user) for user, rows in remaining.items() for row in rows)
            if not candidates:
                continue
            row, user_id = candidates[step[1] % len(candidates)]
            history.void(row[0], None, "why")
            remaining[user_id].remove(row)
        else:
            user_id, value = user_ids[step[0]], float(step[1])
            timestamp = START + timedelta(minutes=step[2])
            receipt = ledger.record(Update(user_id, value, timestamp, f"{number}", user_id))
            remaining[user_id].append((receipt.score_id, value, receipt.created_at, timestamp))
        now = standing(user_id)
        found = now and (now.rank_key, now.reached_at, now.achieved_at, now.score_id)
        assert found == expected_standing(policy, remaining[user_id])


class TestRecomputation:
    """A void reads the user's history before its transaction; changes in between count."""

    @pytest.fixture
    def ledger(self, app):
        return services(app).ledgers.get()

    @pytest.fixture
    def record(self, ledger, player):
        """Return a function that records a score and returns its id."""

        def record(value):
            made = Update(player.user_id, float(value), START, f"{value}", player.user_id)
            return ledger.record(made).score_id

        return record

    @pytest.fixture
    def ids(self, record):
        """Return the ids of the scores 0, 1 and 2."""
        return [record(value) for value in range(3)]

    @pytest.fixture
    def void(self, ledger, monkeypatch):
        """Return a function that voids a score and makes a change before each transaction."""
        change_ledger = ledger.change

        def void(score_id, *changes):
            pending = iter(changes)

            def change(work):
                next(pending, lambda: None)()
                return change_ledger(work)

            monkeypatch.setattr(ledger, "change", change)
            history.void(score_id, None, "why")

        return void

    @pytest.mark.parametrize(
        "values",
        [{"created_at": datetime.now(UTC) + timedelta(hours=1)}, {"version": None}],
        ids=["recorded by a clock that was ahead", "seeded"],
    )
    def test_scores_are_recomputed_in_the_order_of_their_commits(self, void, ids, player, values):
        set_score(ids[0], **values)

        void(ids[2])

        assert standing(player.user_id).rank_key == 1

    def test_an_update_during_a_void_counts(self, void, ids, record, player):
        void(ids[2], lambda: record(1.5))

        assert standing(player.user_id).rank_key == 1.5

    def test_another_void_during_a_void_counts(self, void, ids, player):
        void(ids[2], lambda: set_score(ids[1], voided_at=START))

        assert standing(player.user_id).rank_key == 0

    def test_of_two_voids_of_a_score_the_second_is_refused(self, void, ids, player):
        with pytest.raises(Conflict):
            void(ids[2], lambda: set_score(ids[2], voided_at=START))

        assert standing(player.user_id).rank_key == 2

    def test_too_many_voids_during_a_void_are_an_error_that_changes_nothing(
        self, void, ids, record, player
    ):
        more = [record(-n) for n in range(1, 10)]

        with pytest.raises(ServerError):
            void(ids[2], *(functools.partial(set_score, n, voided_at=START) for n in more))

        assert score_row(ids[2]).voided_at is None
        assert standing(player.user_id).rank_key == -9


def test_a_new_role_applies_to_the_next_request(client, player, make_user, act):
    response = act(player, "role", role="scorer")

    assert (response.status_code, response.json["role"]) == (200, "scorer")
    body = make_user().update(1)
    posted = client.post("/api/score/update", json=body, headers=player.bearer)
    assert posted.status_code == 200


@functools.cache
def password_hash():
    return passwords.hash_password(PASSWORD)


@pytest.fixture
def ann(make_user):
    return make_user(name="Ann", password_hash=password_hash())


@pytest.fixture
def sign_in(client, ann):
    """Return a function that signs Ann in and returns the response."""
    return lambda: client.post("/api/auth/login", json={"username": "Ann", "password": PASSWORD})


class TestEndSessions:
    def test_all_tokens_of_the_user_issued_until_now_are_refused(
        self, client, ann, player, act, sign_in
    ):
        pair = sign_in().json
        foreign = mint(ann.user_id, exp=datetime.now(UTC) + timedelta(days=36_500))
        upper_case = mint(ann.user_id.upper())
        this_second = mint(ann.user_id, iat=int(time.time()))

        assert act(ann, "end-sessions").status_code == 200

        for token in (ann.token, pair["access_token"], foreign, upper_case, this_second):
            assert status_and_code(me(client, token)) == REVOKED
        refreshed = client.post("/api/auth/refresh", headers=bearer(pair["refresh_token"]))
        assert status_and_code(refreshed) == REVOKED
        assert me(client, player.token).status_code == 200

    def test_tokens_issued_later_are_accepted_until_the_next_time(self, client, ann, act, sign_in):
        for _ in range(3):
            act(ann, "end-sessions")

            pair = sign_in().json
            this_moment = mint(ann.user_id, iat=time.time())
            ahead = mint(ann.user_id, iat=int(time.time()) + 2)

            for token in (pair["access_token"], this_moment, ahead):
                assert me(client, token).status_code == 200
            refreshed = client.post("/api/auth/refresh", headers=bearer(pair["refresh_token"]))
            assert refreshed.status_code == 200
        act(ann, "end-sessions")
        assert status_and_code(me(client, pair["access_token"])) == REVOKED

    def test_admins_can_end_their_own(self, admin, act):
        assert act(admin, "end-sessions").status_code == 200
        assert status_and_code(act(admin, "end-sessions")) == REVOKED


class TestSuspend:
    def test_a_suspended_user_is_refused_and_stays_on_the_board(self, client, ann, act, sign_in):
        post(client, ann, 7)

        response = act(ann, "suspend")

        assert (response.status_code, response.json["suspended"]) == (200, True)
        new_token = mint(ann.user_id, iat=time.time())
        for refused in (me(client, new_token), sign_in()):
            assert status_and_code(refused) == (401, "account_suspended")
        assert top10(client) == [(ann.user_id, 7)]

    def test_a_reinstated_user_signs_in_again_but_old_tokens_stay_revoked(
        self, client, ann, act, sign_in
    ):
        act(ann, "suspend")

        response = act(ann, "reinstate")

        assert (response.status_code, response.json["suspended"]) == (200, False)
        assert sign_in().status_code == 200
        assert status_and_code(me(client, ann.token)) == REVOKED


class TestFlags:
    @pytest.fixture
    def read(self, client, admin):
        """Return a function that requests the flags."""
        return lambda query="": client.get(f"/api/admin/marks?{query}", headers=admin.bearer).json

    def flag(self, user, hour, rule="jump"):
        flags.write(user.user_id, rule, "why", START + timedelta(hours=hour, minutes=5))

    def test_the_newest_is_first(self, read, make_user):
        ann, bob = make_user(name="Ann"), make_user(name="Bob")
        self.flag(ann, 1)
        self.flag(bob, 2, "refusals")

        newest, oldest = read()["marks"]

        assert (newest["username"], newest["rule"]) == ("Bob", "refusals")
        assert oldest == {
            "user_id": ann.user_id,
            "username": "Ann",
            "rule": "jump",
            "hour": "2026-01-01T01:00:00Z",
            "detail": "why",
            "hidden": False,
            "suspended": False,
            "created_at": "2026-01-01T01:05:00Z",
        }

    def test_they_show_whether_the_user_is_hidden_or_suspended(self, read, player, act):
        self.flag(player, 1)
        act(player, "hide")
        act(player, "suspend")

        (flag,) = read()["marks"]

        assert (flag["hidden"], flag["suspended"]) == (True, True)

    def test_they_can_be_filtered_by_user(self, read, player, make_user):
        self.flag(player, 1)
        self.flag(make_user(), 2)

        found = read(f"user_id={player.user_id.upper()}")["marks"]

        assert [flag["user_id"] for flag in found] == [player.user_id]


USER, SCORE, RESTORED = f"users/{UNKNOWN_ID}", "scores/1/void", "scores/1/restore"
BY_HAND = {"username": "Ann", "score_value": 7, "reason": "on paper"}
USER_ACTIONS = [f"{USER}/{action}" for action in [*ACTIONS, "role"]]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("GET", name) for name in ("marks", "overview", "audit", "users", USER)),
        *(("GET", f"boards/main/export.{kind}") for kind in ("csv", "json")),
        *((method, USER) for method in ("PATCH", "DELETE")),
        ("POST", "users"),
        *(("POST", path) for path in [*USER_ACTIONS, SCORE, RESTORED, "scores"]),
    ],
)
def test_authorization_precedes_validation(client, player, audit_lines, method, path):
    url = f"/api/admin/{path}".replace(UNKNOWN_ID, "malformed").replace("/1/", "/malformed/")

    response = client.open(url, method=method, headers=player.bearer, data="{" * 100_000)

    assert status_and_code(response) == (401, "not_permitted")
    assert audit_lines() == []


def test_a_cors_preflight_needs_no_token(client):
    assert client.options("/api/admin/marks").status_code == 200


@pytest.mark.parametrize(
    ("path", "code"),
    [
        *((path, "unknown_user") for path in USER_ACTIONS),
        *((path, "unknown_score") for path in (SCORE, RESTORED)),
    ],
)
def test_an_unknown_user_or_score_is_not_found(client, admin, audit_lines, path, code):
    body = {"role": "player"} if "role" in path else {"reason": "cheated"}

    response = client.post(f"/api/admin/{path}", json=body, headers=admin.bearer)

    assert status_and_code(response) == (404, code)
    assert audit_lines() == []


@pytest.mark.parametrize(
    ("field", "path", "body"),
    [
        *(("user_id", f"users/{bad}/hide", {}) for bad in ("ann", "%00", UNKNOWN_ID + "x")),
        *(("role", f"{USER}/role", body) for body in ({}, {"role": "king"}, {"role": 1})),
        *(
            ("score_id", f"scores/{bad}/void", {"reason": "cheated"})
            for bad in ("one", "0", "-1", "1.5", "1_0", " 1", "%00", str(2**63), "9" * 5000)
        ),
        *(
            ("reason", path, {**(BY_HAND if path == "scores" else {}), "reason": bad})
            for path in (SCORE, "scores")
            for bad in ("", " ", "x" * 201, "a\nb", "a\x00", "\ud800", 7, None)
        ),
        *(("score_id", f"scores/{bad}/restore", {}) for bad in ("one", "0", str(2**63))),
        *(("score_value", "scores", {**BY_HAND, "score_value": bad}) for bad in ("7", 2**53, True)),
        *(
            ("change", "scores", {"username": "Ann", "reason": "on paper", "change": bad})
            for bad in ("7", 2**53, None, 0.0000000001)
        ),
        *(("board", "scores", {**BY_HAND, "board": bad}) for bad in ("", "A", 7)),
        *(("username", "scores", {**BY_HAND, "username": bad}) for bad in ("", "a\nb", 7)),
        *(
            ("user_id", "scores", {"score_value": 7, "reason": "on paper", **user})
            for user in ({}, {"user_id": "ann"}, {"user_id": UNKNOWN_ID, "username": "Ann"})
        ),
        *(
            ("score_value", "scores", {"username": "Ann", "reason": "on paper", **values})
            for values in ({}, {"score_value": 7, "change": 7})
        ),
        ("nonce", "scores", {**BY_HAND, "nonce": "12345678"}),
        *(("user_id", f"marks?user_id={bad}", None) for bad in ("ann", "%00", "")),
        *(("after", f"audit?after={bad}", None) for bad in ("x", "1_0", "-1", 2**63)),
        ("process", "audit?process=", None),
        *(
            ("season", f"boards/main/export.{kind}?season={bad}", None)
            for kind in ("csv", "json")
            for bad in ("", "0", "x", "2")
        ),
        ("format", "boards/main/export.json?format=xml", None),
        *(("user_id", f"users/{bad}", None) for bad in ("ann", "%00")),
        *(("query", f"users?query={bad}", None) for bad in ("x" * 255, "%00", "a%0Ab")),
        *(("role", f"users?role={bad}", None) for bad in ("", "king")),
        *(("status", f"users?status={bad}", None) for bad in ("", "king")),
        *(("limit", f"users?limit={bad}", None) for bad in ("0", "101", "x")),
        *(("cursor", f"users?cursor={bad}", None) for bad in ("", "x", "ImFubiI.x")),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_an_invalid_field_is_named(client, admin, field, path, body):
    method = "GET" if body is None else "POST"

    response = client.open(f"/api/admin/{path}", method=method, json=body, headers=admin.bearer)

    assert status_and_code(response) == (400, "invalid_input")
    assert list(response.json["error"]["fields"]) == [field]


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_a_user_that_does_not_exist_is_not_found(client, admin, method):
    body = {"role": "player"} if method == "PATCH" else None

    response = client.open(f"/api/admin/{USER}", method=method, json=body, headers=admin.bearer)

    assert status_and_code(response) == (404, "unknown_user")


@pytest.mark.parametrize("method", ["POST", "PATCH"])
@pytest.mark.parametrize(
    ("field", "bad"),
    [
        *(("username", bad) for bad in ("", "x" * 65, "a\nb", "\u200b", 7, None)),
        *(("email", bad) for bad in ("", "ann", "a@b", "x" * 250 + "@example.com", 7, None)),
        *(("role", bad) for bad in ("", "king", 7, None)),
        ("hidden", True),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_an_invalid_field_of_a_user_is_named(client, admin, player, method, field, bad):
    path = "users" if method == "POST" else f"users/{player.user_id}"
    body = {"username": "Ann", field: bad}

    response = client.open(f"/api/admin/{path}", method=method, json=body, headers=admin.bearer)

    assert status_and_code(response) == (400, "invalid_input")
    assert list(response.json["error"]["fields"]) == [field]


@pytest.mark.parametrize("data", ["", "{", "[]", "7"])
def test_the_body_must_be_an_object(client, admin, data):
    response = client.post(f"/api/admin/{SCORE}", data=data, headers=admin.bearer)

    assert status_and_code(response) == (400, "invalid_json")


@pytest.mark.parametrize("action", [*ACTIONS, "role"])
def test_every_action_leaves_one_audit_line(client, player, admin, audit_lines, action):
    client.post(
        f"/api/admin/users/{player.user_id}/{action}",
        json={"role": "scorer"} if action == "role" else None,
        headers={**admin.bearer, "X-Request-ID": "request-0001"},
    )

    (line,) = audit_lines()
    assert line.pop("time")
    assert line == {
        "event": "moderation",
        "request_id": "request-0001",
        "door": "http",
        "address": "127.0.0.1",
        "caller": admin.user_id,
        "act": "role scorer" if action == "role" else action,
        "user_id": player.user_id,
        "reason": None,
    }


class TestLive:
    """Moderation reaches the subscribers of a server, in every run mode."""

    @pytest.fixture(scope="class")
    def act(self, server):
        """Return a function that posts to a path below /api/admin."""
        admin = server.user("The-admin", "admin")

        def act(path, **body):
            url = f"{server.url}/api/admin/{path}"
            response = requests.post(url, json=body, headers=admin.bearer, timeout=10)
            assert response.status_code == 200, response.text

        return act

    @pytest.fixture
    def star(self, server):
        """Return a player who leads the board with a second score of 900."""
        star = server.user(f"Star-{time.time_ns()}")
        server.post(star.token, star.update(7))
        second = star.update(900, "2026-01-01T00:01:00Z")
        star.score_id = server.post(star.token, second).json()["score_id"]
        return star

    @pytest.fixture
    def subscriber(self, server, users, closing):
        return closing(WebSocketClient(server.url, users["viewer"].token))

    def score_of(self, user, messages):
        """Return the user's score in the newest top 10, None if not there."""
        board = next(m for m in reversed(messages) if m["type"] == "top_10_update")
        entries = board["data"]["top_10_scores"]
        return next((e["score"] for e in entries if e["user_id"] == user.user_id), None)

    def test_hiding_restoring_and_voiding_are_pushed(self, star, subscriber, act):
        subscriber.wait_for_count(1)
        scores = []
        for path, body in [
            (f"users/{star.user_id}/hide", {}),
            (f"users/{star.user_id}/restore", {}),
            (f"scores/{star.score_id}/void", {"reason": "cheated"}),
        ]:
            act(path, **body)
            messages = subscriber.wait_for_count(len(scores) + 2)
            scores.append(self.score_of(star, messages))

        assert scores == [None, 900, 7]
        assert [message["type"] for message in subscriber.messages()] == ["top_10_update"] * 4

    def test_a_command_is_pushed_by_the_server(self, server, star, subscriber):
        subscriber.wait_for(lambda messages: messages and self.score_of(star, messages) == 900)

        server.flask("users", "void", str(star.score_id), "--reason", "cheated")

        subscriber.wait_for(lambda messages: self.score_of(star, messages) == 7)

    @pytest.mark.parametrize("action", ["end-sessions", "suspend"])
    def test_revoking_sessions_closes_only_their_connections(
        self, server, subscriber, closing, act, star, action
    ):
        plain = closing(WebSocketClient(server.url, star.token))
        socket_io = closing(SocketIoClient(server.url, star.token))
        for each in (plain, socket_io, subscriber):
            each.wait_for_count(1)

        act(f"users/{star.user_id}/{action}")

        assert plain.ended.wait(10)
        assert plain.code == 4401
        assert socket_io.ended.wait(10)
        assert not subscriber.ended.is_set()

    def test_a_command_closes_connections_to_the_server(self, server, closing):
        guest = server.user("Guest")
        subscriber = closing(WebSocketClient(server.url, guest.token))
        subscriber.wait_for_count(1)

        server.flask("users", "end-sessions", "Guest")

        assert subscriber.ended.wait(10)
        assert subscriber.code == 4401
