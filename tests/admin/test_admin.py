"""Moderation by endpoint and by command: immediate, logged, and for admins only."""

import functools
import json
import logging
import time
from datetime import UTC, datetime, timedelta

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select

from scoreboard.anomalies import flags
from scoreboard.auth import accounts, passwords
from scoreboard.db import transactions
from scoreboard.errors import Conflict, ServerError
from scoreboard.models import MAX_SCORE, Score, Standing
from scoreboard.scores import history
from scoreboard.scores.ledger import Ledger
from scoreboard.scores.policy import POLICIES
from scoreboard.scores.records import Update
from tests.support.subscribers import SocketIoClient, WebSocketClient
from tests.support.tokens import mint

START = datetime(2026, 1, 1, tzinfo=UTC)
UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"
ACTIONS = ["hide", "restore", "end-sessions", "suspend", "reinstate"]


@pytest.fixture
def admin(make_user):
    return make_user("admin")


@pytest.fixture
def act(client, admin):
    """Return a function by which the admin moderates a user."""

    def act(person, action, **body):
        url = f"/api/admin/users/{person.user_id}/{action}"
        return client.post(url, json=body, headers=admin.bearer)

    return act


@pytest.fixture
def void(client, admin):
    """Return a function by which the admin voids a score."""

    def void(score_id, reason="cheated"):
        url = f"/api/admin/scores/{score_id}/void"
        return client.post(url, json={"reason": reason}, headers=admin.bearer)

    return void


@pytest.fixture
def audited(app, caplog):
    """Return a function that returns the audit lines about moderation so far."""
    logger = logging.getLogger("scoreboard.audit")
    logger.addHandler(caplog.handler)
    yield lambda: [
        line
        for record in caplog.records
        if record.name == logger.name
        and (line := json.loads(record.message))["event"] == "moderation"
    ]
    logger.removeHandler(caplog.handler)


def post(client, person, value, minute=0):
    """Submit a score reached in this minute; return the response body."""
    update = person.update(value, f"2026-01-01T00:{minute:02}:00Z")
    return client.post("/api/score/update", json=update, headers=person.bearer).json


def top10(client):
    entries = client.get("/api/score/top10").json["top_10_scores"]
    return [(entry["user_id"], entry["score"]) for entry in entries]


def top_10_update(*entries):
    scores = [{"user_id": person.user_id, "score": score} for person, score in entries]
    return {"type": "top_10_update", "data": {"top_10_scores": scores}}


def me(client, token):
    return client.get("/api/auth/me", headers={"Authorization": f"Bearer {token}"})


def code(response):
    return response.json["error"]["code"]


def standing(user_id):
    statement = select(Standing.__table__).where(Standing.user_id == user_id)
    return transactions.read(lambda c: c.execute(statement).one_or_none())


def set_score(score_id, **values):
    statement = Score.__table__.update().where(Score.score_id == score_id).values(**values)
    transactions.transaction(lambda connection: connection.execute(statement))


class TestHide:
    def test_a_hidden_user_leaves_the_board_at_once(self, client, player, act, subscriber):
        post(client, player, 7)

        response = act(player, "hide")

        assert (response.status_code, response.json["hidden"]) == (200, True)
        assert top10(client) == []
        assert subscriber.messages()[-1] == top_10_update()

    def test_the_eleventh_user_moves_into_the_top_10(self, client, scorer, make_user, act):
        users = [make_user() for _ in range(11)]
        for score, person in enumerate(users):
            update = person.update(score)
            client.post("/api/score/update", json=update, headers=scorer.bearer)

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
        update, board = subscriber.messages()[count:]
        assert (update["type"], board) == ("score_update", top_10_update((player, 9)))

    def test_actions_can_be_repeated_and_keep_the_order_of_a_tie(self, client, make_user, act):
        first, second = make_user(), make_user()
        post(client, first, 7)
        post(client, second, 7)

        for action in ("hide", "hide", "restore", "restore"):
            assert act(first, action).status_code == 200

        assert [user_id for user_id, _ in top10(client)] == [first.user_id, second.user_id]


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

    def test_a_user_without_other_scores_leaves_the_board_until_the_next(
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

    def test_a_score_is_voided_once(self, client, player, void):
        receipt = post(client, player, 7)
        void(receipt["score_id"], "first")

        response = void(receipt["score_id"], "second")

        assert (response.status_code, code(response)) == (409, "already_voided")
        statement = select(Score.void_reason)
        assert transactions.read(lambda c: c.execute(statement).scalar_one()) == "first"

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

    def test_a_late_update_counts_once_the_newer_score_is_void(self, client, player, void):
        newest = post(client, player, 9, minute=5)
        late = post(client, player, 3, minute=1)

        void(newest["score_id"])

        assert late["applied"] is False
        assert top10(client) == [(player.user_id, 3)]

    @pytest.mark.parametrize("settings", [{"SCORE_POLICY": "total"}])
    def test_a_void_that_would_take_the_total_out_of_range_is_refused(self, client, player, void):
        post(client, player, MAX_SCORE)
        negative = post(client, player, -MAX_SCORE, minute=1)
        post(client, player, MAX_SCORE, minute=2)

        response = void(negative["score_id"])

        assert (response.status_code, code(response)) == (409, "out_of_range")
        assert top10(client) == [(player.user_id, MAX_SCORE)]
        voided = select(Score.score_id).where(Score.voided_at.is_not(None))
        assert transactions.read(lambda c: c.execute(voided).all()) == []

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
def user_ids(app):
    return [
        accounts.create(f"Player {n}", f"{n}@example.com", None, "player").user_id for n in range(3)
    ]


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


@pytest.mark.parametrize("policy", POLICIES)
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=steps)
def test_after_any_voids_the_standing_follows_from_the_remaining_scores(
    policy, user_ids, steps, monkeypatch
):
    monkeypatch.setattr(history, "CHUNK_SIZE", 3)  # so that most histories take several reads
    transactions.transaction(lambda c: [c.execute(delete(table)) for table in (Standing, Score)])
    ledger = Ledger(POLICIES[policy], lambda batch: None)
    remaining = {user_id: [] for user_id in user_ids}

    for number, step in enumerate(steps):
        if step[0] == "void":
            candidates = sorted((row, user) for user, rows in remaining.items() for row in rows)
            if not candidates:
                continue
            row, user_id = candidates[step[1] % len(candidates)]
            history.void(row[0], None, "why", POLICIES[policy], ledger.change)
            remaining[user_id].remove(row)
        else:
            user_id, value = user_ids[step[0]], float(step[1])
            timestamp = START + timedelta(minutes=step[2])
            receipt = ledger.record(Update(user_id, value, timestamp, f"{number}", user_id))
            remaining[user_id].append((receipt.score_id, value, receipt.created_at, timestamp))
        now = standing(user_id)
        found = now and (now.score, now.reached_at, now.achieved_at, now.score_id)
        assert found == expected_standing(policy, remaining[user_id])


@pytest.mark.parametrize(
    "values",
    [{"created_at": datetime.now(UTC) + timedelta(hours=1)}, {"version": None}],
    ids=["recorded by a clock that was ahead", "seeded"],
)
def test_scores_are_recomputed_in_the_order_of_their_commits(user_ids, values):
    ledger = Ledger(POLICIES["latest"], lambda batch: None)
    ids = [
        ledger.record(Update(user_ids[0], float(n), START, f"{n}", user_ids[0])).score_id
        for n in range(3)
    ]
    set_score(ids[0], **values)

    history.void(ids[2], None, "why", POLICIES["latest"], ledger.change)

    assert standing(user_ids[0]).score == 1


class TestChangesDuringAVoid:
    """Changes between the read of a user's history and the transaction of the void."""

    @pytest.fixture
    def ledger(self, app):
        return Ledger(POLICIES["best"], lambda batch: None)

    @pytest.fixture
    def record(self, ledger, user_ids):
        """Return a function that records a score of the first user and returns its id."""
        return lambda value: (
            ledger.record(
                Update(user_ids[0], float(value), START, f"{value}", user_ids[0])
            ).score_id
        )

    @pytest.fixture
    def made(self, record):
        """Return the ids of the scores 0, 1 and 2."""
        return [record(value) for value in range(3)]

    @pytest.fixture
    def void(self, ledger):
        """Return a function that voids a score; before each transaction runs one change."""

        def void(score_id, *changes):
            pending = iter(changes)

            def change(work):
                next(pending, lambda: None)()
                return ledger.change(work)

            history.void(score_id, None, "why", POLICIES["best"], change)

        return void

    def test_an_update_counts(self, void, made, record, user_ids):
        void(made[2], lambda: record(1.5))

        assert standing(user_ids[0]).score == 1.5

    def test_another_void_counts(self, void, made, user_ids):
        void(made[2], lambda: set_score(made[1], voided_at=START))

        assert standing(user_ids[0]).score == 0

    def test_of_two_voids_of_a_score_the_second_is_refused(self, void, made, user_ids):
        with pytest.raises(Conflict):
            void(made[2], lambda: set_score(made[2], voided_at=START))

        assert standing(user_ids[0]).score == 2

    def test_too_many_other_voids_are_an_error_that_changes_nothing(
        self, void, made, record, user_ids
    ):
        others = [record(-n) for n in range(1, 10)]

        with pytest.raises(ServerError):
            void(made[2], *(functools.partial(set_score, n, voided_at=START) for n in others))

        statement = select(Score.voided_at).where(Score.score_id == made[2])
        assert transactions.read(lambda c: c.execute(statement).scalar_one()) is None
        assert standing(user_ids[0]).score == 2


def test_a_new_role_applies_to_the_next_request(client, player, make_user, act):
    response = act(player, "role", role="scorer")

    assert (response.status_code, response.json["role"]) == (200, "scorer")
    update = make_user().update(1)
    posted = client.post("/api/score/update", json=update, headers=player.bearer)
    assert posted.status_code == 200


@functools.cache
def password_hash():
    return passwords.hash_password("correct horse")


@pytest.fixture
def ann(make_user):
    return make_user(name="Ann", password_hash=password_hash())


@pytest.fixture
def sign_in(client):
    """Return a function that signs Ann in and returns the response."""
    body = {"username": "Ann", "password": "correct horse"}
    return lambda: client.post("/api/auth/login", json=body)


class TestEndSessions:
    def test_every_token_issued_until_now_is_refused(self, client, ann, act, sign_in):
        pair = sign_in().json
        foreign = mint(ann.user_id, exp=datetime.now(UTC) + timedelta(days=36_500))
        upper_case = mint(ann.user_id.upper())
        this_second = mint(ann.user_id, iat=int(time.time()))

        assert act(ann, "end-sessions").status_code == 200

        for token in (ann.token, pair["access_token"], foreign, upper_case, this_second):
            assert code(me(client, token)) == "token_revoked"
        headers = {"Authorization": f"Bearer {pair['refresh_token']}"}
        assert code(client.post("/api/auth/refresh", headers=headers)) == "token_revoked"

    def test_tokens_issued_later_are_accepted_until_the_next_time(self, client, ann, act, sign_in):
        for _ in range(3):
            act(ann, "end-sessions")

            pair = sign_in().json
            tokens = [
                pair["access_token"],
                mint(ann.user_id, iat=time.time()),
                mint(ann.user_id, iat=int(time.time()) + 2),
            ]

            assert [me(client, token).status_code for token in tokens] == [200] * 3
            headers = {"Authorization": f"Bearer {pair['refresh_token']}"}
            assert client.post("/api/auth/refresh", headers=headers).status_code == 200
        act(ann, "end-sessions")
        assert code(me(client, pair["access_token"])) == "token_revoked"

    def test_other_users_stay_signed_in(self, client, ann, player, act):
        act(ann, "end-sessions")

        assert me(client, player.token).status_code == 200

    def test_admins_can_end_their_own(self, admin, act):
        assert act(admin, "end-sessions").status_code == 200
        assert code(act(admin, "end-sessions")) == "token_revoked"


class TestSuspend:
    def test_a_suspended_user_is_refused_everywhere_and_stays_on_the_board(
        self, client, ann, act, sign_in
    ):
        post(client, ann, 7)

        response = act(ann, "suspend")

        assert (response.status_code, response.json["suspended"]) == (200, True)
        assert me(client, ann.token).status_code == 401
        assert code(me(client, mint(ann.user_id, iat=time.time()))) == "account_suspended"
        assert code(sign_in()) == "account_suspended"
        assert top10(client) == [(ann.user_id, 7)]

    def test_a_reinstated_user_signs_in_again_but_old_tokens_stay_revoked(
        self, client, ann, act, sign_in
    ):
        act(ann, "suspend")

        response = act(ann, "reinstate")

        assert (response.status_code, response.json["suspended"]) == (200, False)
        assert sign_in().status_code == 200
        assert code(me(client, ann.token)) == "token_revoked"


class TestFlags:
    @pytest.fixture
    def read(self, client, admin):
        """Return a function that requests the flags."""
        return lambda query="": client.get(f"/api/admin/marks?{query}", headers=admin.bearer)

    def flag(self, person, hour, rule="jump"):
        flags.write(person.user_id, rule, "why", START + timedelta(hours=hour, minutes=5))

    def test_the_newest_is_first(self, read, make_user):
        ann, bob = make_user(name="Ann"), make_user(name="Bob")
        self.flag(ann, 1)
        self.flag(bob, 2, "refusals")

        response = read()

        assert response.status_code == 200
        assert [flag["username"] for flag in response.json["marks"]] == ["Bob", "Ann"]
        assert response.json["marks"][1] == {
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

        (flag,) = read().json["marks"]

        assert (flag["hidden"], flag["suspended"]) == (True, True)

    def test_they_can_be_filtered_by_user(self, read, player, make_user):
        self.flag(player, 1)
        self.flag(make_user(), 2)

        response = read(f"user_id={player.user_id.upper()}")

        assert [flag["user_id"] for flag in response.json["marks"]] == [player.user_id]


USER, SCORE = f"users/{UNKNOWN_ID}", "scores/1/void"
ENDPOINTS = [
    *[("GET", name) for name in ("marks", "overview", "audit")],
    *[("POST", f"{USER}/{action}") for action in [*ACTIONS, "role"]],
    ("POST", SCORE),
]


@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
def test_authorization_precedes_validation(client, player, audited, method, path):
    url = f"/api/admin/{path}".replace(UNKNOWN_ID, "nobody").replace("/1/", "/one/")

    response = client.open(url, method=method, headers=player.bearer, data="{" * 100_000)

    assert (response.status_code, code(response)) == (401, "not_permitted")
    assert audited() == []


def test_a_cors_preflight_needs_no_token(client):
    assert client.options("/api/admin/marks").status_code == 200


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        *((f"{USER}/{action}", "unknown_user") for action in [*ACTIONS, "role"]),
        (SCORE, "unknown_score"),
    ],
)
def test_an_unknown_user_or_score_is_not_found(client, admin, audited, path, expected):
    body = {"role": "player"} if "role" in path else {"reason": "cheated"}

    response = client.post(f"/api/admin/{path}", json=body, headers=admin.bearer)

    assert (response.status_code, code(response)) == (404, expected)
    assert audited() == []


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
            ("reason", SCORE, {"reason": bad})
            for bad in ("", " ", "x" * 201, "a\nb", "a\x00", "\ud800", 7, None)
        ),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_invalid_input_is_named(client, admin, field, path, body):
    response = client.post(f"/api/admin/{path}", json=body, headers=admin.bearer)

    assert response.status_code == 400
    assert list(response.json["error"]["fields"]) == [field]


@pytest.mark.parametrize("data", ["", "{", "[]", "7"])
def test_the_body_must_be_an_object(client, admin, data):
    response = client.post(f"/api/admin/{SCORE}", data=data, headers=admin.bearer)

    assert (response.status_code, code(response)) == (400, "invalid_json")


@pytest.mark.parametrize(
    "query",
    [
        *("marks?user_id=ann", "marks?user_id=%00", "marks?user_id="),
        *("audit?after=x", "audit?after=1_0", "audit?after=-1"),
        *(f"audit?after={2**63}", "audit?process="),
    ],
)
def test_an_invalid_query_is_refused(client, admin, query):
    response = client.get(f"/api/admin/{query}", headers=admin.bearer)

    assert (response.status_code, code(response)) == (400, "invalid_input")


class TestAudit:
    @pytest.mark.parametrize("action", [*ACTIONS, "role"])
    def test_every_action_is_one_line(self, client, player, admin, audited, action):
        client.post(
            f"/api/admin/users/{player.user_id}/{action}",
            json={"role": "scorer"} if action == "role" else None,
            headers={**admin.bearer, "X-Request-ID": "request-0001"},
        )

        (line,) = audited()
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

    def test_a_void_is_logged_with_its_reason(self, client, player, void, audited):
        receipt = post(client, player, 7)

        void(receipt["score_id"], "cheated")
        void(receipt["score_id"], "again")

        (line,) = audited()
        assert (line["act"], line["reason"]) == ("void", "cheated")
        assert (line["user_id"], line["score_id"]) == (player.user_id, receipt["score_id"])


class TestCommands:
    @pytest.fixture
    def run(self, app):
        """Return a function that runs `flask users ...` and returns its exit code and output."""

        def run(*arguments):
            result = app.test_cli_runner().invoke(args=["users", *arguments])
            assert "Traceback" not in result.output
            return result.exit_code, result.output

        return run

    @pytest.mark.parametrize("action", [*ACTIONS, "role"])
    def test_an_action_is_one_audit_line(self, run, ann, audited, action):
        options = ["scorer"] if action == "role" else []

        assert run(action, "ann", *options) == (0, "")

        (line,) = audited()
        assert (line["door"], line["caller"]) == ("command line", None)
        assert (line["act"], line["user_id"]) == (" ".join([action, *options]), ann.user_id)

    def test_void(self, run, client, player):
        post(client, player, 7)
        receipt = post(client, player, 900, minute=1)

        assert run("void", str(receipt["score_id"]), "--reason", "cheated") == (0, "")
        assert top10(client) == [(player.user_id, 7)]

    def test_marks(self, run, ann):
        flags.write(ann.user_id, "jump", "a step of 995", START)

        _, output = run("marks")

        assert output.split(maxsplit=3) == [
            *("2026-01-01T00:00:00+00:00", "jump", "Ann", "a step of 995\n")
        ]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("hide", "Nobody"), "There is no user named Nobody."),
            (("void", "1", "--reason", "cheated"), "There is no score with this score_id."),
            (("void", "one", "--reason", "cheated"), "score_id: Must be a whole number"),
            (("void", "1", "--reason", " "), "reason: Must be printable"),
            (("void", "1"), "Missing option '--reason'"),
        ],
        ids=str,
    )
    def test_an_error_is_shown_on_one_line(self, run, arguments, message):
        exit_code, output = run(*arguments)

        assert exit_code != 0
        assert message in output


@pytest.fixture(scope="module")
def live_admin(server):
    return server.user("The-admin", "admin")


class TestLive:
    """Moderation reaches the subscribers of a server, in every run mode."""

    @pytest.fixture
    def act(self, server, live_admin):
        def act(path, **body):
            url = f"{server.url}/api/admin/{path}"
            response = requests.post(url, json=body, headers=live_admin.bearer, timeout=10)
            assert response.status_code == 200, response.text

        return act

    @pytest.fixture
    def star(self, server):
        """Return a player who leads the board with a second score of 900."""
        person = server.user(f"Star-{time.time_ns()}")
        server.post(person.token, person.update(7))
        update = person.update(900, "2026-01-01T00:01:00Z")
        person.score_id = server.post(person.token, update).json()["score_id"]
        return person

    @pytest.fixture
    def viewer(self, server, users, closing):
        return closing(WebSocketClient(server.url, users["viewer"].token))

    def shown(self, person, messages):
        """Return the person's score in the newest top 10, None if not there."""
        board = next(m for m in reversed(messages) if m["type"] == "top_10_update")
        entries = board["data"]["top_10_scores"]
        return next((e["score"] for e in entries if e["user_id"] == person.user_id), None)

    def test_hiding_restoring_and_voiding_are_pushed(self, star, viewer, act):
        viewer.wait_for_count(1)
        scores = []
        for path, body in [
            (f"users/{star.user_id}/hide", {}),
            (f"users/{star.user_id}/restore", {}),
            (f"scores/{star.score_id}/void", {"reason": "cheated"}),
        ]:
            act(path, **body)
            messages = viewer.wait_for_count(len(scores) + 2)
            scores.append(self.shown(star, messages))

        assert scores == [None, 900, 7]
        assert [message["type"] for message in viewer.messages()] == ["top_10_update"] * 4

    def test_a_command_is_pushed_by_the_server(self, server, star, viewer):
        viewer.wait_for(lambda messages: messages and self.shown(star, messages) == 900)

        server.flask("users", "void", str(star.score_id), "--reason", "cheated")

        viewer.wait_for(lambda messages: self.shown(star, messages) == 7)

    @pytest.mark.parametrize("action", ["end-sessions", "suspend"])
    def test_revoking_sessions_closes_only_their_connections(
        self, server, viewer, closing, act, star, action
    ):
        plain = closing(WebSocketClient(server.url, star.token))
        socket_io = closing(SocketIoClient(server.url, star.token))
        for each in (plain, socket_io, viewer):
            each.wait_for_count(1)

        act(f"users/{star.user_id}/{action}")

        assert plain.ended.wait(10)
        assert plain.code == 4401
        assert socket_io.ended.wait(10)
        assert not viewer.ended.is_set()

    def test_a_command_closes_connections_to_the_server(self, server, closing):
        person = server.user("Guest")
        viewer = closing(WebSocketClient(server.url, person.token))
        viewer.wait_for_count(1)

        server.flask("users", "end-sessions", "Guest")

        assert viewer.ended.wait(10)
        assert viewer.code == 4401
