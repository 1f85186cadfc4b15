"""`POST /api/score/update`: what it returns, changes and sends."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.exc import OperationalError

from scoreboard.extensions import db
from scoreboard.models import MAX_SCORE
from tests.support.api import UNKNOWN_ID, submit, top10
from tests.support.local_subscribers import LocalSubscriber
from tests.support.responses import status_and_code

URL = "/api/score/update"


def in_minutes(minutes):
    return (datetime.now(UTC) + timedelta(minutes=minutes)).isoformat()


def test_an_accepted_update_returns_its_receipt(client, player):
    before = datetime.now(UTC)

    response = submit(client, player, player.update(7.5))

    assert response.status_code == 200
    receipt = response.json
    assert before <= datetime.fromisoformat(receipt.pop("created_at")) <= datetime.now(UTC)
    assert isinstance(receipt.pop("score_id"), int)
    assert receipt == {"user_id": player.user_id, "score": 7.5, "applied": True}


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        *(("120", "120"), ("120.0", "120"), ("-0.0", "0")),
        *((number, number) for number in ("0.1", "-1.5", "0.1234567891")),
        *((number, number) for number in (str(MAX_SCORE), str(-MAX_SCORE))),
    ],
)
def test_numbers_are_returned_exactly_and_whole_numbers_whole(client, player, sent, shown):
    body = f'{{"user_id": "{player.user_id}", "score_value": {sent}, "timestamp": "2026-01-01"}}'

    response = client.post(URL, data=body, headers=player.bearer)

    assert f'"score":{shown},' in response.text
    assert f'"score":{shown}}}' in client.get("/api/score/top10").text


def test_the_top_10_has_the_ten_highest_in_descending_order(client, scorer, make_user):
    assert top10(client) == []
    users = [make_user() for _ in range(12)]
    for score, user in enumerate(users):
        submit(client, scorer, user.update(score))

    expected = [{"user_id": user.user_id, "score": s} for s, user in enumerate(users)]
    assert top10(client) == expected[:1:-1]


def test_equal_scores_rank_by_the_time_they_were_reached(client, scorer, make_user):
    users = [make_user() for _ in range(3)]
    for user in users:
        submit(client, scorer, user.update(5))

    submit(client, scorer, users[0].update(5, "2026-01-02"))  # the same score again

    assert [entry["user_id"] for entry in top10(client)] == [user.user_id for user in users]


def test_an_older_update_only_enters_the_history(client, player, subscriber):
    submit(client, player, player.update(5, "2026-01-02T00:00:00Z"))

    response = submit(client, player, player.update(9, "2026-01-01T00:00:00Z"))

    assert response.status_code == 200
    assert (response.json["score"], response.json["applied"]) == (5, False)
    assert top10(client)[0]["score"] == 5
    message = {"type": "score_update", "data": {"user_id": player.user_id, "new_score": 5}}
    assert subscriber.messages()[-1] == message


@pytest.mark.parametrize("minutes", [0, 2])
def test_a_timestamp_ahead_counts_as_the_time_of_its_arrival(client, player, minutes):
    submit(client, player, player.update(9, in_minutes(4)))

    response = submit(client, player, player.update(5, in_minutes(minutes)))

    assert (response.json["score"], response.json["applied"]) == (5, True)


@pytest.mark.parametrize(
    ("first", "same"),
    [
        ("2026-01-01T12:00:00", "2026-01-01T14:00:00+02:00"),
        ("2026-01-01T12:00:00.25Z", "2026-01-01T12:00:00,250Z"),
        ("2026-01-01T12:00:00.25Z", "2026-01-01t12:00:00.250z"),
        ("2026-01-01T12:00:00.25Z", "20260101T120000,25z"),
    ],
)
def test_timestamps_that_denote_one_moment_are_the_same(client, player, first, same):
    submit(client, player, player.update(5, first))

    assert status_and_code(submit(client, player, player.update(5, same))) == (400, "replayed")


def test_a_timestamp_may_be_five_minutes_ahead_but_not_more(client, player):
    near = submit(client, player, player.update(1, in_minutes(4)))
    far = submit(client, player, player.update(2, in_minutes(6)))

    assert status_and_code(near) == (200, None)
    assert status_and_code(far) == (400, "timestamp_in_future")


@pytest.mark.parametrize(
    ("settings", "scores"),
    [
        ({"SCORE_POLICY": "latest"}, [5, 3, 8, 8]),
        ({"SCORE_POLICY": "best"}, [5, 5, 8, 8]),
        ({"SCORE_POLICY": "total"}, [5, 8, 16, 24]),
    ],
)
def test_the_policy_decides_the_score(client, player, scores):
    updates = [player.update(v, f"2026-01-0{d}") for d, v in enumerate([5, 3, 8, 8], start=1)]

    assert [submit(client, player, update).json["score"] for update in updates] == scores


def add(client, user, *values):
    """Submit these values; return the response to the last."""
    for value in values:
        response = submit(client, user, user.update(value, nonce=uuid.uuid4().hex))
    return response


@pytest.mark.parametrize("settings", [{"SCORE_POLICY": "total"}])
class TestTotal:
    @pytest.mark.parametrize(
        ("values", "score"),
        [
            ([0.1, 0.2, 0.3], 0.6),
            ([0.1] * 10, 1),
            ([-0.1, -0.2, 0.3], 0),
            ([MAX_SCORE, -0.3, -MAX_SCORE], -0.3),
            ([-MAX_SCORE, -0.000000001, MAX_SCORE], -0.000000001),
            ([MAX_SCORE, 0.25], MAX_SCORE + 1),
            ([-MAX_SCORE, -0.25], -MAX_SCORE - 1),
            ([MAX_SCORE, 0.25, -0.25], MAX_SCORE),
        ],
    )
    def test_values_are_added_exactly_in_any_order(self, client, make_user, values, score):
        one, other = make_user(), make_user()

        assert add(client, one, *values).json["score"] == score
        assert add(client, other, *reversed(values)).json["score"] == score

    @pytest.mark.parametrize("sign", [1, -1])
    def test_a_total_must_stay_below_the_next_whole_number(self, client, player, sign):
        add(client, player, sign * MAX_SCORE, sign * 0.999999999)

        response = add(client, player, sign * 0.000000001)

        assert status_and_code(response) == (400, "invalid_input")
        assert "score_value" in response.json["error"]["fields"]
        assert add(client, player, sign * -MAX_SCORE).json["score"] == sign * 0.999999999

    @pytest.mark.parametrize("value", [0.1234567891, 1e-10, -5e-324, 1234.0000000001])
    def test_more_than_nine_decimals_are_refused(self, client, player, value):
        response = submit(client, player, player.update(value))

        assert status_and_code(response) == (400, "invalid_input")
        assert "decimals" in response.json["error"]["fields"]["score_value"][0]
        assert top10(client) == []


class TestMessages:
    def test_an_update_sends_the_score_and_then_the_top_10(self, client, player, subscriber):
        submit(client, player, player.update(7))

        entry = {"user_id": player.user_id, "score": 7}
        assert subscriber.messages() == [
            {"type": "score_update", "data": {"user_id": player.user_id, "new_score": 7}},
            {"type": "top_10_update", "data": {"top_10_scores": [entry]}},
        ]

    def test_an_unchanged_top_10_is_not_sent(self, client, scorer, make_user, subscriber):
        *users, last = [make_user() for _ in range(11)]
        for user in users:
            submit(client, scorer, user.update(10))
        before = len(subscriber.messages())

        submit(client, scorer, last.update(1))

        assert [message["type"] for message in subscriber.messages()[before:]] == ["score_update"]

    def test_a_failing_push_does_not_fail_the_update(self, app, client, player):
        pushed = []

        def fail(frames):
            pushed.append(frames)
            raise RuntimeError

        LocalSubscriber(app).connection.push = fail

        assert submit(client, player, player.update(7)).status_code == 200
        assert pushed


NONCES = pytest.mark.parametrize("nonce", [{}, {"nonce": "abcdefgh"}], ids=["without", "with"])


class TestReplays:
    def test_refused_updates_create_no_version_of_the_board(self, client, player, scorer):
        submit(client, scorer, player.update(7))
        before = client.get("/api/leaderboard").headers["ETag"]

        replayed = submit(client, scorer, player.update(7))
        unknown = submit(client, scorer, {**player.update(8), "user_id": UNKNOWN_ID})

        assert status_and_code(replayed) == (400, "replayed")
        assert status_and_code(unknown) == (400, "unknown_user")
        assert "user_id" in unknown.json["error"]["fields"]
        assert client.get("/api/leaderboard").headers["ETag"] == before

    @NONCES
    @pytest.mark.parametrize("ahead", [None, 4])
    def test_a_replay_changes_nothing_and_has_the_first_receipt(
        self, client, player, subscriber, nonce, ahead
    ):
        update = player.update(7, in_minutes(ahead) if ahead else "2026-01-01", **nonce)
        first = submit(client, player, update)
        submit(client, player, player.update(9, in_minutes(0), nonce="otherone"))
        before = subscriber.messages()

        replay = submit(client, player, update)

        assert status_and_code(replay) == (400, "replayed")
        assert replay.json["error"]["receipt"] == first.json
        assert subscriber.messages() == before

    def test_a_replay_after_a_lost_commit_response_has_the_receipt(
        self, app, client, player, monkeypatch
    ):
        dialect, update = db.engine.dialect, player.update(7, nonce="abcdefgh")
        commit = dialect.do_commit

        def commit_and_fail(connection):
            commit(connection)
            raise OperationalError("COMMIT", {}, Exception("the connection was lost"))

        with monkeypatch.context() as patched:
            patched.setattr(dialect, "do_commit", commit_and_fail)
            response = submit(client, player, update)
        replay = submit(client, player, update)

        assert status_and_code(response) == (500, "server_error")
        assert status_and_code(replay) == (400, "replayed")
        assert replay.json["error"]["receipt"]["score"] == 7
        assert top10(client) == [{"user_id": player.user_id, "score": 7}]

    @NONCES
    def test_each_submitter_has_its_own_updates_and_receipts(self, client, player, scorer, nonce):
        update = player.update(7, **nonce)
        first = [submit(client, user, update).json for user in (player, scorer)]

        replays = [submit(client, user, update).json for user in (player, scorer)]

        assert first[0]["score_id"] != first[1]["score_id"]
        assert [replay["error"]["receipt"] for replay in replays] == first

    @pytest.mark.parametrize(
        ("name", "changed"),
        [
            ("score_value", lambda: 8),
            ("timestamp", lambda: "2026-01-02"),
            ("timestamp", lambda: in_minutes(3)),
        ],
        ids=["value", "timestamp", "timestamp ahead"],
    )
    def test_a_different_request_with_the_same_nonce_has_no_receipt(
        self, client, player, name, changed
    ):
        update = player.update(7, in_minutes(4), nonce="abcdefgh")
        submit(client, player, update)

        response = submit(client, player, {**update, name: changed()})

        assert status_and_code(response) == (400, "replayed")
        assert "receipt" not in response.json["error"]

    def test_nonces_distinguish_equal_updates_of_one_user(self, client, scorer, make_user):
        one, other = make_user(), make_user()
        updates = [
            one.update(7, nonce="abcdefgh"),
            one.update(7, nonce="ijklmnop"),
            other.update(7, nonce="abcdefgh"),
        ]

        assert [submit(client, scorer, update).status_code for update in updates] == [200] * 3


class TestAuthorization:
    @pytest.mark.parametrize(
        ("role", "own_score", "other_score"),
        [("viewer", 401, 401), ("player", 200, 401), ("scorer", 200, 200), ("admin", 200, 200)],
    )
    def test_the_role_decides_which_scores_may_be_updated(
        self, client, make_user, role, own_score, other_score
    ):
        user = make_user(role)

        assert submit(client, user, user.update(1)).status_code == own_score
        assert submit(client, user, make_user().update(1)).status_code == other_score

    def test_an_update_needs_the_token_of_a_user(self, client, player):
        token = client.post("/api/auth/viewer").json["access_token"]

        responses = [
            client.post(URL, json=player.update(1), headers=headers)
            for headers in ({}, {"Authorization": f"Bearer {token}"})
        ]

        assert [status_and_code(response) for response in responses] == [
            (401, "token_missing"),
            (401, "not_permitted"),
        ]
        assert {each.headers["WWW-Authenticate"] for each in responses} == {"Bearer"}


@pytest.mark.parametrize("settings", [{"SCORE_RATE_LIMIT": "2/day"}])
class TestRateLimit:
    def test_updates_over_the_limit_of_a_user_change_nothing(self, client, scorer, make_user):
        limited, other = make_user(), make_user()
        updates = [*(limited.update(value) for value in range(3)), other.update(-1)]

        responses = [submit(client, scorer, update) for update in updates]

        assert [response.status_code for response in responses] == [200, 200, 429, 200]
        assert status_and_code(responses[2]) == (429, "rate_limited")
        assert 86_000 < int(responses[2].headers["Retry-After"]) <= 86_401
        assert top10(client)[0]["score"] == 1

    def test_invalid_and_unauthorized_updates_do_not_count(self, client, player, make_user):
        for _ in range(3):
            submit(client, player, player.update("seven"))
            submit(client, make_user(), player.update(1))

        assert submit(client, player, player.update(1)).status_code == 200
