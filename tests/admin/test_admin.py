"""Moderation: by endpoint and by command, at once, in the audit log, and for admins only."""

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
from scoreboard.db import transactions as database
from scoreboard.errors import Conflict, ServerError
from scoreboard.models import MAX_SCORE, Score, Standing
from scoreboard.scores import history
from scoreboard.scores.ledger import Ledger
from scoreboard.scores.policy import POLICIES
from scoreboard.scores.records import Update
from tests.support.servers import Person
from tests.support.subscribers import PlainViewer, SocketIoViewer
from tests.support.tokens import mint

START = datetime(2026, 1, 1, tzinfo=UTC)
NOBODY = "00000000-0000-4000-8000-000000000000"
ACTS = ["hide", "restore", "end-sessions", "suspend", "reinstate"]


@pytest.fixture
def admin(make_user):
    return make_user("admin")


@pytest.fixture
def act(client, admin):
    """Return a function that has the admin do something to a user."""

    def act(person, what, **body):
        url = f"/api/admin/users/{person.user_id}/{what}"
        return client.post(url, json=body, headers=admin.bearer)

    return act


@pytest.fixture
def void(client, admin):
    """Return a function that has the admin void a score."""

    def void(score_id, reason="cheated"):
        url = f"/api/admin/scores/{score_id}/void"
        return client.post(url, json={"reason": reason}, headers=admin.bearer)

    return void


@pytest.fixture
def audited(app, caplog):
    """Return a function that tells the lines about moderation so far."""
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
    """Submit a score that was reached in this minute; return the receipt."""
    update = person.update(value, f"2026-01-01T00:{minute:02}:00Z")
    return client.post("/api/score/update", json=update, headers=person.bearer).json


def top10(client):
    entries = client.get("/api/score/top10").json["top_10_scores"]
    return [(entry["user_id"], entry["score"]) for entry in entries]


def me(client, token):
    return client.get("/api/auth/me", headers={"Authorization": f"Bearer {token}"})


def code(answer):
    return answer.json["error"]["code"]


def standing(user_id):
    statement = select(Standing.__table__).where(Standing.user_id == user_id)
    return database.read(lambda c: c.execute(statement).one_or_none())


class TestHide:
    def test_a_hidden_user_leaves_the_board_at_once(self, client, player, act, watcher):
        post(client, player, 7)

        answer = act(player, "hide")

        assert (answer.status_code, answer.json["hidden"]) == (200, True)
        assert top10(client) == []
        assert watcher.messages()[-1] == {"type": "top_10_update", "data": {"top_10_scores": []}}

    def test_the_eleventh_moves_up(self, client, scorer, make_user, act):
        people = [make_user() for _ in range(11)]
        for score, person in enumerate(people):
            update = person.update(score)
            client.post("/api/score/update", json=update, headers=scorer.bearer)

        act(people[10], "hide")

        assert [score for _, score in top10(client)] == [*range(9, -1, -1)]

    def test_scores_still_count_while_hidden(self, client, player, act, watcher):
        post(client, player, 7)
        act(player, "hide")
        seen = len(watcher.messages())

        receipt = post(client, player, 9, minute=1)

        assert (receipt["score"], receipt["applied"]) == (9, True)
        assert [message["type"] for message in watcher.messages()[seen:]] == ["score_update"]

    def test_who_has_no_score_yet_is_hidden_with_the_first(self, client, player, act):
        act(player, "hide")

        post(client, player, 7)

        assert top10(client) == []

    def test_a_restored_user_is_back_at_once_with_the_score_of_now(
        self, client, player, act, watcher
    ):
        post(client, player, 7)
        act(player, "hide")
        post(client, player, 9, minute=1)

        answer = act(player, "restore")

        assert (answer.status_code, answer.json["hidden"]) == (200, False)
        assert top10(client) == [(player.user_id, 9)]
        entry = {"user_id": player.user_id, "score": 9}
        told = {"type": "top_10_update", "data": {"top_10_scores": [entry]}}
        assert watcher.messages()[-1] == told

    def test_hiding_keeps_the_place_in_a_tie(self, client, make_user, act):
        first, second = make_user(), make_user()
        post(client, first, 7)
        post(client, second, 7)
        act(first, "hide")

        act(first, "restore")

        assert [user_id for user_id, _ in top10(client)] == [first.user_id, second.user_id]

    def test_doing_it_twice_is_no_error(self, client, player, act):
        post(client, player, 7)

        assert [act(player, "hide").status_code for _ in range(2)] == [200, 200]
        assert [act(player, "restore").status_code for _ in range(2)] == [200, 200]
        assert top10(client) == [(player.user_id, 7)]


class TestVoid:
    def test_the_score_before_it_counts_again(self, client, player, void, watcher):
        post(client, player, 7)
        receipt = post(client, player, 900, minute=1)

        answer = void(receipt["score_id"])

        assert answer.status_code == 200
        assert top10(client) == [(player.user_id, 7)]
        entry = {"user_id": player.user_id, "score": 7}
        told = {"type": "top_10_update", "data": {"top_10_scores": [entry]}}
        assert watcher.messages()[-1] == told

    def test_the_answer_is_the_voided_score(self, client, player, admin, void):
        receipt = post(client, player, 7)

        told = void(receipt["score_id"], "cheated").json

        assert datetime.fromisoformat(told.pop("voided_at"))
        assert told == {
            "score_id": receipt["score_id"],
            "user_id": player.user_id,
            "score_value": 7,
            "created_at": receipt["created_at"],
            "voided_by": admin.user_id,
            "void_reason": "cheated",
        }

    def test_who_has_no_other_score_leaves_the_board(self, client, player, void):
        receipt = post(client, player, 7)

        void(receipt["score_id"])

        assert top10(client) == []
        assert standing(player.user_id) is None

    def test_and_may_come_back_with_the_next(self, client, player, void):
        void(post(client, player, 7)["score_id"])

        assert post(client, player, 5, minute=1)["score"] == 5
        assert top10(client) == [(player.user_id, 5)]

    def test_a_hidden_user_stays_hidden(self, client, player, act, void):
        post(client, player, 7)
        second = post(client, player, 9, minute=1)
        act(player, "hide")
        void(second["score_id"])

        assert top10(client) == []
        act(player, "restore")
        assert top10(client) == [(player.user_id, 7)]

    def test_it_cannot_be_done_twice(self, client, player, void):
        receipt = post(client, player, 7)
        void(receipt["score_id"], "first")

        answer = void(receipt["score_id"], "second")

        assert (answer.status_code, code(answer)) == (409, "already_voided")
        statement = select(Score.void_reason)
        assert database.read(lambda c: c.execute(statement).scalar_one()) == "first"

    def test_a_voided_update_sent_again_is_a_replay(self, client, player, void):
        void(post(client, player, 7)["score_id"])

        assert post(client, player, 7)["error"]["code"] == "replayed"
        assert top10(client) == []

    def test_voiding_what_does_not_set_the_score_changes_no_board(
        self, client, player, void, watcher
    ):
        receipt = post(client, player, 7)
        post(client, player, 9, minute=1)
        seen = watcher.messages()

        void(receipt["score_id"])

        assert watcher.messages() == seen

    def test_a_late_update_follows_the_policy_among_what_is_left(self, client, player, void):
        """What was only history may count once the newer score is void."""
        newest = post(client, player, 9, minute=5)
        late = post(client, player, 3, minute=1)
        assert late["applied"] is False

        void(newest["score_id"])

        assert top10(client) == [(player.user_id, 3)]

    def test_the_score_was_reached_when_it_became_what_it_is(self, client, player, void):
        first = post(client, player, 7)
        middle = post(client, player, 8, minute=1)
        last = post(client, player, 7, minute=2)

        void(middle["score_id"])

        now = standing(player.user_id)
        assert now.reached_at == datetime.fromisoformat(first["created_at"])
        assert now.achieved_at == START + timedelta(minutes=2)
        assert now.score_id == last["score_id"]

    @pytest.mark.parametrize("settings", [{"SCORE_POLICY": "total"}])
    def test_a_void_that_would_take_the_total_out_of_range_is_refused(self, client, player, void):
        post(client, player, MAX_SCORE)
        back = post(client, player, -MAX_SCORE, minute=1)
        post(client, player, MAX_SCORE, minute=2)

        answer = void(back["score_id"])

        assert (answer.status_code, code(answer)) == (409, "out_of_range")
        assert top10(client) == [(player.user_id, MAX_SCORE)]
        assert database.read(
            lambda c: c.execute(select(Score.voided_at).distinct()).scalars().all()
        ) == [None]

    @pytest.mark.parametrize("settings", [{"SCORE_POLICY": "total"}])
    def test_only_the_total_that_is_left_has_to_be_in_range(self, client, player, void):
        less = post(client, player, -10)
        post(client, player, MAX_SCORE)
        post(client, player, 10, minute=1)
        post(client, player, -100, minute=2)

        answer = void(less["score_id"])

        assert answer.status_code == 200
        assert top10(client) == [(player.user_id, MAX_SCORE - 90)]

    @pytest.mark.parametrize("settings", [{"SCORE_POLICY": "total"}])
    def test_a_total_without_one_of_its_values_is_exact(self, client, player, void):
        post(client, player, 0.1)
        large = post(client, player, MAX_SCORE - 1, minute=1)
        post(client, player, 0.2, minute=2)

        void(large["score_id"])

        assert top10(client) == [(player.user_id, 0.3)]


def fold(policy, rows):
    """Return what the contract makes of these rows (id, value, arrival, timestamp), or None."""
    now = None
    for score_id, value, arrival, timestamp in rows:
        if now is None:
            now = (value, arrival, timestamp, score_id)
            continue
        score = {
            "latest": value if timestamp >= now[2] else None,
            "best": value if value > now[0] else None,
            "total": now[0] + value,
        }[policy]
        if score is not None:
            now = (score, now[1] if score == now[0] else arrival, timestamp, score_id)
    return now


@pytest.fixture
def user_ids(app):
    return [
        accounts.create(f"Player {n}", f"{n}@example.com", None, "player").user_id for n in range(3)
    ]


steps = st.lists(
    st.tuples(
        st.integers(0, 2),
        # Of at most 9 decimals, and nothing is lost where they are added up as doubles.
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
def test_after_any_voids_the_standing_is_what_is_left_comes_to(
    policy, user_ids, steps, monkeypatch
):
    monkeypatch.setattr(history, "PORTION", 3)  # so that most histories take several reads
    database.transaction(lambda c: [c.execute(delete(table)) for table in (Standing, Score)])
    ledger = Ledger(POLICIES[policy], lambda batch: None)
    rows = {user_id: [] for user_id in user_ids}  # what is not voided, in order of arrival

    for number, step in enumerate(steps):
        if step[0] == "void":
            left = sorted((row, user) for user, its in rows.items() for row in its)
            if not left:
                continue
            row, user_id = left[step[1] % len(left)]
            history.void(row[0], None, "why", POLICIES[policy], ledger.change)
            rows[user_id].remove(row)
        else:
            user_id, timestamp = user_ids[step[0]], START + timedelta(minutes=step[2])
            update = Update(user_id, float(step[1]), timestamp, f"{number}", user_id)
            receipt = ledger.record(update)
            rows[user_id].append(
                (receipt.score_id, float(step[1]), receipt.created_at, timestamp),
            )
        now = standing(user_id)
        found = now and (now.score, now.reached_at, now.achieved_at, now.score_id)
        assert found == fold(policy, rows[user_id])


def test_scores_arrived_in_the_order_of_the_boards_versions(user_ids):
    """Whatever the clocks of several machines said, before the board had one of its own."""
    ledger = Ledger(POLICIES["latest"], lambda batch: None)
    made = [
        ledger.record(Update(user_ids[0], float(n), START, f"{n}", user_ids[0])) for n in range(3)
    ]
    statement = Score.__table__.update().where(Score.score_id == made[0].score_id)
    ahead = made[0].created_at + timedelta(hours=1)
    database.transaction(lambda c: c.execute(statement.values(created_at=ahead)))

    history.void(made[2].score_id, None, "why", POLICIES["latest"], ledger.change)

    assert standing(user_ids[0]).score == 1


def test_a_seeded_score_came_before_every_update(app, user_ids):
    ledger = Ledger(POLICIES["latest"], lambda batch: None)
    made = [
        ledger.record(Update(user_ids[0], float(n), START, f"{n}", user_ids[0])) for n in range(3)
    ]
    statement = Score.__table__.update().where(Score.score_id == made[0].score_id)
    database.transaction(lambda c: c.execute(statement.values(version=None)))

    history.void(made[2].score_id, None, "why", POLICIES["latest"], ledger.change)

    assert standing(user_ids[0]).score == 1


class TestWhileTheOtherScoresAreRead:
    """What happens after a void has read the history, and before its transaction."""

    @pytest.fixture
    def ledger(self, app):
        return Ledger(POLICIES["best"], lambda batch: None)

    @pytest.fixture
    def made(self, ledger, user_ids):
        """Return the ids of three scores of the first user, 0, 1 and 2."""
        return [self.record(ledger, user_ids, value) for value in range(3)]

    def record(self, ledger, user_ids, value):
        update = Update(user_ids[0], float(value), START, f"{value}", user_ids[0])
        return ledger.record(update).score_id

    def void_elsewhere(self, score_id):
        """Void a score as another process does it: as far as this matters here."""
        statement = Score.__table__.update().where(Score.score_id == score_id)
        database.transaction(lambda c: c.execute(statement.values(voided_at=START)))

    def void(self, ledger, score_id, *meanwhile):
        """Void the score; before its transactions these happen, one before each."""
        happenings = iter(meanwhile)

        def change(work):
            next(happenings, lambda: None)()
            return ledger.change(work)

        history.void(score_id, None, "why", POLICIES["best"], change)

    def test_an_update_counts(self, ledger, made, user_ids):
        self.void(ledger, made[2], lambda: self.record(ledger, user_ids, 1.5))

        assert standing(user_ids[0]).score == 1.5

    def test_another_void_counts(self, ledger, made, user_ids):
        self.void(ledger, made[2], lambda: self.void_elsewhere(made[1]))

        assert standing(user_ids[0]).score == 0

    def test_a_void_of_the_same_score_is_the_only_one(self, ledger, made, user_ids):
        with pytest.raises(Conflict):
            self.void(ledger, made[2], lambda: self.void_elsewhere(made[2]))

        assert standing(user_ids[0]).score == 2

    def test_voids_without_end_are_an_error_that_changes_nothing(self, ledger, made, user_ids):
        others = [self.record(ledger, user_ids, -n) for n in range(1, 10)]

        with pytest.raises(ServerError):
            self.void(ledger, made[2], *(functools.partial(self.void_elsewhere, n) for n in others))

        statement = select(Score.voided_at).where(Score.score_id == made[2])
        assert database.read(lambda c: c.execute(statement).scalar_one()) is None
        assert standing(user_ids[0]).score == 2


class TestRole:
    def test_it_counts_from_the_next_request_on(self, client, player, make_user, act):
        answer = act(player, "role", role="scorer")

        assert (answer.status_code, answer.json["role"]) == (200, "scorer")
        update = make_user().update(1)
        posted = client.post("/api/score/update", json=update, headers=player.bearer)
        assert posted.status_code == 200

    @pytest.mark.parametrize("body", [{}, {"role": "king"}, {"role": 1}, {"role": None}], ids=str)
    def test_a_role_that_does_not_exist_is_refused(self, client, player, act, body):
        answer = act(player, "role", **body)

        assert answer.status_code == 400
        assert "role" in answer.json["error"]["fields"]


@pytest.fixture
def sign_in(client):
    """Return a function that signs a user in who has a password."""

    def sign_in(name):
        body = {"username": name, "password": "correct horse"}
        return client.post("/api/auth/login", json=body)

    return sign_in


@functools.cache
def hashed():
    return passwords.hash_password("correct horse")


@pytest.fixture
def ann(make_user):
    return make_user(name="Ann", password_hash=hashed())


class TestEndSessions:
    def test_every_token_issued_until_now_is_refused(self, client, ann, act, sign_in):
        pair = sign_in("Ann").json
        elsewhere = mint(ann.user_id, exp=datetime.now(UTC) + timedelta(days=36_500))

        assert act(ann, "end-sessions").status_code == 200

        for token in (ann.token, pair["access_token"], elsewhere):
            assert code(me(client, token)) == "token_revoked"
        headers = {"Authorization": f"Bearer {pair['refresh_token']}"}
        assert code(client.post("/api/auth/refresh", headers=headers)) == "token_revoked"

    def test_a_sign_in_right_after_it_lives(self, client, ann, act, sign_in):
        for _ in range(3):
            act(ann, "end-sessions")

            pair = sign_in("Ann").json

            assert me(client, pair["access_token"]).status_code == 200
            headers = {"Authorization": f"Bearer {pair['refresh_token']}"}
            assert client.post("/api/auth/refresh", headers=headers).status_code == 200

    def test_a_token_minted_in_whole_seconds_is_refused_if_it_may_be_older(self, client, ann, act):
        act(ann, "end-sessions")

        this_second = mint(ann.user_id, iat=int(time.time()))
        next_second = mint(ann.user_id, iat=int(time.time()) + 2)

        assert code(me(client, this_second)) == "token_revoked"
        assert me(client, next_second).status_code == 200

    def test_a_token_issued_later_is_accepted(self, client, ann, act):
        act(ann, "end-sessions")

        assert me(client, mint(ann.user_id, iat=time.time())).status_code == 200

    def test_a_token_that_writes_the_id_in_another_way_is_refused_too(self, client, ann, act):
        token = mint(ann.user_id.upper())
        assert me(client, token).json["user_id"] == ann.user_id

        act(ann, "end-sessions")

        assert code(me(client, token)) == "token_revoked"

    def test_it_can_be_done_again(self, client, ann, act):
        act(ann, "end-sessions")
        later = mint(ann.user_id, iat=time.time())

        act(ann, "end-sessions")

        assert code(me(client, later)) == "token_revoked"

    def test_others_are_left_alone(self, client, ann, player, act):
        act(ann, "end-sessions")

        assert me(client, player.token).status_code == 200

    def test_an_admin_may_end_its_own(self, client, admin, act):
        assert act(admin, "end-sessions").status_code == 200
        assert code(act(admin, "end-sessions")) == "token_revoked"


class TestSuspend:
    def test_a_suspended_user_is_refused_everywhere(self, client, ann, act, sign_in):
        answer = act(ann, "suspend")

        assert (answer.status_code, answer.json["suspended"]) == (200, True)
        assert me(client, ann.token).status_code == 401
        assert code(me(client, mint(ann.user_id, iat=time.time()))) == "account_suspended"
        assert code(sign_in("Ann")) == "account_suspended"

    def test_it_keeps_the_place_on_the_board(self, client, ann, act):
        post(client, ann, 7)

        act(ann, "suspend")

        assert top10(client) == [(ann.user_id, 7)]

    def test_a_reinstated_user_may_sign_in_again(self, client, ann, act, sign_in):
        act(ann, "suspend")

        answer = act(ann, "reinstate")

        assert (answer.status_code, answer.json["suspended"]) == (200, False)
        assert sign_in("Ann").status_code == 200

    def test_but_the_old_tokens_stay_dead(self, client, ann, act):
        act(ann, "suspend")
        act(ann, "reinstate")

        assert code(me(client, ann.token)) == "token_revoked"


class TestMarks:
    def mark(self, person, hour, rule="jump"):
        flags.write(person.user_id, rule, "why", START + timedelta(hours=hour, minutes=5))

    def test_the_newest_come_first(self, client, admin, make_user):
        ann, bob = make_user(name="Ann"), make_user(name="Bob")
        self.mark(ann, 1)
        self.mark(bob, 2, "refusals")

        answer = client.get("/api/admin/marks", headers=admin.bearer)

        assert answer.status_code == 200
        assert answer.json["marks"][1] == {
            "user_id": ann.user_id,
            "username": "Ann",
            "rule": "jump",
            "hour": "2026-01-01T01:00:00Z",
            "detail": "why",
            "hidden": False,
            "suspended": False,
            "created_at": "2026-01-01T01:05:00Z",
        }
        assert [mark["username"] for mark in answer.json["marks"]] == ["Bob", "Ann"]

    def test_they_tell_what_was_done_to_the_user(self, client, admin, player, act):
        self.mark(player, 1)
        act(player, "hide")
        act(player, "suspend")

        (mark,) = client.get("/api/admin/marks", headers=admin.bearer).json["marks"]

        assert (mark["hidden"], mark["suspended"]) == (True, True)

    def test_those_of_one_user_can_be_asked_for(self, client, admin, player, make_user):
        self.mark(player, 1)
        self.mark(make_user(), 2)

        answer = client.get(
            f"/api/admin/marks?user_id={player.user_id.upper()}", headers=admin.bearer
        )

        assert [mark["user_id"] for mark in answer.json["marks"]] == [player.user_id]

    @pytest.mark.parametrize("query", ["user_id=ann", "user_id=%00", "user_id="])
    def test_another_query_is_refused(self, client, admin, query):
        answer = client.get(f"/api/admin/marks?{query}", headers=admin.bearer)

        assert (answer.status_code, code(answer)) == (400, "invalid_input")


PATHS = [
    *[("GET", f"/api/admin/{what}") for what in ("marks", "overview", "audit")],
    *[("POST", f"/api/admin/users/{NOBODY}/{act}") for act in [*ACTS, "role"]],
    ("POST", "/api/admin/scores/1/void"),
]


@pytest.mark.parametrize(("method", "path"), PATHS)
class TestWhoMay:
    @pytest.mark.parametrize("role", ["viewer", "player", "scorer"])
    def test_others_than_admins_may_not(self, client, make_user, audited, method, path, role):
        answer = client.open(path, method=method, headers=make_user(role).bearer)

        assert (answer.status_code, code(answer)) == (401, "not_permitted")
        assert audited() == []

    def test_nobody_may_without_a_token(self, client, method, path):
        assert code(client.open(path, method=method)) == "token_missing"

    def test_who_asks_is_settled_first(self, client, player, method, path):
        wrong = path.replace(NOBODY, "nobody").replace("/1/", "/one/")

        answer = client.open(wrong, method=method, headers=player.bearer, data="{" * 100_000)

        assert code(answer) == "not_permitted"


class TestInput:
    @pytest.mark.parametrize("what", [*ACTS, "role"])
    def test_an_unknown_user_is_not_found(self, act, audited, what):
        answer = act(Person(NOBODY, ""), what, role="player")

        assert (answer.status_code, code(answer)) == (404, "unknown_user")
        assert audited() == []

    @pytest.mark.parametrize("user_id", ["ann", "%00", NOBODY + "x"])
    def test_what_is_no_user_id_is_refused(self, act, user_id):
        answer = act(Person(user_id, ""), "hide")

        assert answer.status_code == 400
        assert "user_id" in answer.json["error"]["fields"]

    def test_an_unknown_score_is_not_found(self, void, audited):
        answer = void(1)

        assert (answer.status_code, code(answer)) == (404, "unknown_score")
        assert audited() == []

    @pytest.mark.parametrize(
        "score_id", ["one", "0", "-1", "1.5", "1_0", " 1", "%00", str(2**63), "9" * 5000]
    )
    def test_what_is_no_score_id_is_refused(self, void, score_id):
        answer = void(score_id)

        assert answer.status_code == 400
        assert "score_id" in answer.json["error"]["fields"]

    @pytest.mark.parametrize("reason", ["", " ", "x" * 201, "a\nb", "a\x00", "\ud800", 7, None])
    def test_a_reason_must_be_readable(self, client, player, void, reason):
        receipt = post(client, player, 7)

        answer = void(receipt["score_id"], reason)

        assert answer.status_code == 400
        assert "reason" in answer.json["error"]["fields"]
        assert top10(client) == [(player.user_id, 7)]

    @pytest.mark.parametrize("data", ["", "{", "[]", "7"])
    def test_a_body_must_be_an_object(self, client, admin, data):
        answer = client.post("/api/admin/scores/1/void", data=data, headers=admin.bearer)

        assert (answer.status_code, code(answer)) == (400, "invalid_json")


class TestAudit:
    @pytest.mark.parametrize("what", ACTS)
    def test_every_act_leaves_one_line(self, client, player, admin, audited, what):
        client.post(
            f"/api/admin/users/{player.user_id}/{what}",
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
            "act": what,
            "user_id": player.user_id,
            "reason": None,
        }

    def test_a_role_is_told(self, player, act, audited):
        act(player, "role", role="scorer")

        assert audited()[0]["act"] == "role scorer"

    def test_a_void_tells_whose_score_and_why(self, client, player, void, audited):
        receipt = post(client, player, 7)

        void(receipt["score_id"], "cheated")
        void(receipt["score_id"], "again")

        (line,) = audited()
        assert (line["act"], line["reason"]) == ("void", "cheated")
        assert (line["user_id"], line["score_id"]) == (player.user_id, receipt["score_id"])


class TestCommands:
    @pytest.fixture
    def run(self, app):
        """Return a function that runs `flask users ...` and gives its exit code and output."""

        def run(*arguments):
            done = app.test_cli_runner().invoke(args=["users", *arguments])
            assert "Traceback" not in done.output
            return done.exit_code, done.output

        return run

    def test_hide_and_restore(self, run, client, ann):
        post(client, ann, 7)

        assert run("hide", "ann") == (0, "")
        assert top10(client) == []
        assert run("restore", "ann") == (0, "")
        assert top10(client) == [(ann.user_id, 7)]

    def test_suspend_and_reinstate(self, run, client, ann):
        run("suspend", "Ann")
        assert code(me(client, mint(ann.user_id, iat=time.time()))) == "account_suspended"

        run("reinstate", "Ann")
        assert me(client, mint(ann.user_id, iat=time.time())).status_code == 200

    def test_end_sessions(self, run, client, ann):
        run("end-sessions", "Ann")

        assert code(me(client, ann.token)) == "token_revoked"

    def test_void(self, run, client, player):
        post(client, player, 7)
        receipt = post(client, player, 900, minute=1)

        assert run("void", str(receipt["score_id"]), "--reason", "cheated") == (0, "")

        assert top10(client) == [(player.user_id, 7)]

    def test_marks(self, run, ann):
        flags.write(ann.user_id, "jump", "a step of 995", START)

        _, told = run("marks")

        assert told.split(maxsplit=3) == [
            "2026-01-01T00:00:00+00:00",
            "jump",
            "Ann",
            "a step of 995\n",
        ]

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (("hide", "Nobody"), "There is no user named Nobody."),
            (("void", "1", "--reason", "cheated"), "There is no score with this score_id."),
            (("void", "one", "--reason", "cheated"), "score_id: Must be a whole number"),
            (("void", "1", "--reason", " "), "reason: Must be printable"),
            (("void", "1"), "Missing option '--reason'"),
        ],
        ids=str,
    )
    def test_what_cannot_be_done_is_said_on_a_line(self, run, arguments, told):
        exit_code, output = run(*arguments)

        assert exit_code != 0
        assert told in output

    @pytest.mark.parametrize("what", [*ACTS, "role"])
    def test_every_act_leaves_one_line(self, run, ann, audited, what):
        run(what, "Ann", *(["scorer"] if what == "role" else []))

        (line,) = audited()
        assert (line["door"], line["caller"]) == ("command line", None)
        assert line["act"] == ("role scorer" if what == "role" else what)
        assert line["user_id"] == ann.user_id


@pytest.fixture(scope="module")
def the_admin(server):
    return server.user("The-admin", "admin")


class TestLive:
    """On a real server, run both ways, with real viewers."""

    @pytest.fixture
    def act(self, server, the_admin):
        def act(path, **body):
            url = f"{server.url}/api/admin/{path}"
            answer = requests.post(url, json=body, headers=the_admin.bearer, timeout=10)
            assert answer.status_code == 200, answer.text

        return act

    @pytest.fixture
    def star(self, server):
        """Return a player who leads the board with a second score of 900."""
        person = server.user(f"Star-{time.time_ns()}")
        server.post(person.token, person.update(7))
        update = person.update(900, "2026-01-01T00:01:00Z")
        person.score_id = server.post(person.token, update).json()["score_id"]
        return person

    def scores(self, person):
        """Return a condition: the last top 10 shows this score of the person, or None."""

        def last(messages):
            board = next(m for m in reversed(messages) if m["type"] == "top_10_update")
            entries = board["data"]["top_10_scores"]
            return next((e["score"] for e in entries if e["user_id"] == person.user_id), None)

        return last

    def test_hiding_restoring_and_voiding_are_pushed(self, server, people, watching, act, star):
        viewer = watching(PlainViewer(server.url, people["viewer"].token))
        last = self.scores(star)
        viewer.wait_for_count(1)
        told = [last(viewer.messages())]

        for path, body, expected in [
            (f"users/{star.user_id}/hide", {}, None),
            (f"users/{star.user_id}/restore", {}, 900),
            (f"scores/{star.score_id}/void", {"reason": "cheated"}, 7),
        ]:
            act(path, **body)
            viewer.wait_for_count(len(told) + 1)
            told.append(last(viewer.messages()))
            assert told[-1] == expected

        assert [message["type"] for message in viewer.messages()] == ["top_10_update"] * 4

    def test_a_command_is_seen_by_the_viewers_of_the_server(self, server, people, watching, star):
        viewer = watching(PlainViewer(server.url, people["viewer"].token))
        last = self.scores(star)
        viewer.wait_for(lambda messages: messages and last(messages) == 900)

        server.flask("users", "void", str(star.score_id), "--reason", "cheated")

        viewer.wait_for(lambda messages: last(messages) == 7)

    @pytest.mark.parametrize("what", ["end-sessions", "suspend"])
    def test_ended_sessions_lose_their_connections(self, server, people, watching, act, star, what):
        plain = watching(PlainViewer(server.url, star.token))
        socket_io = watching(SocketIoViewer(server.url, star.token))
        other = watching(PlainViewer(server.url, people["viewer"].token))
        for viewer in (plain, socket_io, other):
            viewer.wait_for_count(1)

        act(f"users/{star.user_id}/{what}")

        assert plain.ended.wait(10)
        assert plain.code == 4401
        assert socket_io.ended.wait(10)
        assert not other.ended.is_set()

    def test_a_command_ends_the_sessions_on_the_server(self, server, watching):
        person = server.user("Guest")
        viewer = watching(PlainViewer(server.url, person.token))
        viewer.wait_for_count(1)

        server.flask("users", "end-sessions", "Guest")

        assert viewer.ended.wait(10)
        assert viewer.code == 4401
