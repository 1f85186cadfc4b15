"""`POST /api/score/update`: what it returns, changes and sends."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.exc import OperationalError

from scoreboard.extensions import db
from scoreboard.models import MAX_SCORE
from scoreboard.services import services

URL = "/api/score/update"
UNKNOWN = "00000000-0000-4000-8000-000000000000"


def post(client, person, update):
    return client.post(URL, json=update, headers=person.bearer)


def top10(client):
    return client.get("/api/score/top10").json["top_10_scores"]


def code(response):
    return response.status_code, response.json.get("error", {}).get("code")


def in_minutes(minutes):
    return (datetime.now(UTC) + timedelta(minutes=minutes)).isoformat()


def test_an_accepted_update_returns_its_receipt(client, player):
    before = datetime.now(UTC)

    response = post(client, player, player.update(7.5))

    assert response.status_code == 200
    receipt = response.json
    assert before <= datetime.fromisoformat(receipt.pop("created_at")) <= datetime.now(UTC)
    assert isinstance(receipt.pop("score_id"), int)
    assert receipt == {"user_id": player.user_id, "score": 7.5, "applied": True}


@pytest.mark.parametrize(("sent", "shown"), [("120", "120"), ("120.0", "120"), ("-0.0", "0")])
def test_whole_numbers_are_returned_whole(client, player, sent, shown):
    body = f'{{"user_id": "{player.user_id}", "score_value": {sent}, "timestamp": "2026-01-01"}}'

    response = client.post(URL, data=body, headers=player.bearer)

    assert f'"score":{shown},' in response.text
    assert f'"score":{shown}}}' in client.get("/api/score/top10").text


@pytest.mark.parametrize("value", [MAX_SCORE, -MAX_SCORE, 0.1, -1.5, 0.1234567891])
def test_numbers_are_returned_exactly(client, player, value):
    assert post(client, player, player.update(value)).json["score"] == value


def test_the_top_10_has_the_ten_highest_in_descending_order(client, scorer, make_user):
    assert top10(client) == []
    users = [make_user() for _ in range(12)]
    for score, person in enumerate(users):
        post(client, scorer, person.update(score))

    expected = [{"user_id": person.user_id, "score": s} for s, person in enumerate(users)]
    assert top10(client) == expected[:1:-1]


def test_equal_scores_rank_by_the_time_they_were_reached(client, scorer, make_user):
    users = [make_user() for _ in range(3)]
    for person in users:
        post(client, scorer, person.update(5))

    post(client, scorer, users[0].update(5, "2026-01-02T00:00:00Z"))  # the same score again

    assert [entry["user_id"] for entry in top10(client)] == [p.user_id for p in users]


def test_an_older_update_only_enters_the_history(client, player, subscriber):
    post(client, player, player.update(5, "2026-01-02T00:00:00Z"))

    response = post(client, player, player.update(9, "2026-01-01T00:00:00Z"))

    assert response.status_code == 200
    assert (response.json["score"], response.json["applied"]) == (5, False)
    assert top10(client)[0]["score"] == 5
    message = {"type": "score_update", "data": {"user_id": player.user_id, "new_score": 5}}
    assert subscriber.messages()[-1] == message


def test_of_equal_timestamps_the_later_arrival_wins(client, player):
    post(client, player, player.update(9))

    response = post(client, player, player.update(5))

    assert (response.json["score"], response.json["applied"]) == (5, True)


@pytest.mark.parametrize("minutes", [0, 2])
def test_a_timestamp_ahead_counts_as_the_time_of_its_arrival(client, player, minutes):
    post(client, player, player.update(9, in_minutes(4)))

    response = post(client, player, player.update(5, in_minutes(minutes)))

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
    post(client, player, player.update(5, first))

    assert code(post(client, player, player.update(5, same))) == (400, "replayed")


def test_a_timestamp_may_be_five_minutes_ahead_but_not_more(client, player):
    near = post(client, player, player.update(1, in_minutes(4)))
    far = post(client, player, player.update(2, in_minutes(6)))

    assert code(near) == (200, None)
    assert code(far) == (400, "timestamp_in_future")


@pytest.mark.parametrize(
    ("settings", "scores"),
    [
        ({"SCORE_POLICY": "latest"}, [5, 3, 8, 8]),
        ({"SCORE_POLICY": "best"}, [5, 5, 8, 8]),
        ({"SCORE_POLICY": "total"}, [5, 8, 16, 24]),
    ],
)
def test_the_policy_decides_the_score(client, player, scores):
    found = [
        post(client, player, player.update(value, f"2026-01-0{day}T00:00:00Z")).json["score"]
        for day, value in enumerate([5, 3, 8, 8], start=1)
    ]

    assert found == scores


def add(client, person, *values):
    """Submit these values; return the response to the last."""
    for value in values:
        response = post(client, person, person.update(value, nonce=uuid.uuid4().hex))
    return response


@pytest.mark.parametrize("settings", [{"SCORE_POLICY": "total"}])
class TestTotal:
    @pytest.mark.parametrize(
        ("values", "score"),
        [
            ([0.1, 0.2, 0.3], 0.6),
            ([0.1] * 10, 1),
            ([1e-9] * 3, 3e-9),
            ([-0.1, -0.2, 0.3], 0),
            ([MAX_SCORE, -0.3, -MAX_SCORE], -0.3),
            ([-MAX_SCORE, -0.000000001, MAX_SCORE], -0.000000001),
            ([8_999_999.12345679, 0.000000001], 8_999_999.123456791),
        ],
    )
    def test_values_are_added_exactly_in_any_order(self, client, make_user, values, score):
        one, other = make_user(), make_user()

        assert add(client, one, *values).json["score"] == score
        assert add(client, other, *reversed(values)).json["score"] == score

    @pytest.mark.parametrize("sign", [1, -1])
    def test_a_fraction_beyond_the_largest_score_counts(self, client, player, sign):
        add(client, player, sign * MAX_SCORE)

        assert add(client, player, sign * 0.25).json["score"] == sign * (MAX_SCORE + 1)
        assert add(client, player, sign * -0.25).json["score"] == sign * MAX_SCORE

    @pytest.mark.parametrize("sign", [1, -1])
    def test_a_total_must_stay_below_the_next_whole_number(self, client, player, sign):
        add(client, player, sign * MAX_SCORE, sign * 0.999999999)

        response = add(client, player, sign * 0.000000001)

        assert code(response) == (400, "invalid_input")
        assert "score_value" in response.json["error"]["fields"]
        assert add(client, player, sign * -MAX_SCORE).json["score"] == sign * 0.999999999

    @pytest.mark.parametrize("value", [0.1234567891, 1e-10, -5e-324, 1234.0000000001])
    def test_more_than_nine_decimals_are_refused(self, client, player, value):
        response = post(client, player, player.update(value))

        assert code(response) == (400, "invalid_input")
        assert "decimals" in response.json["error"]["fields"]["score_value"][0]
        assert top10(client) == []


class TestMessages:
    def test_an_update_sends_the_score_and_then_the_top_10(self, client, player, subscriber):
        post(client, player, player.update(7))

        entry = {"user_id": player.user_id, "score": 7}
        assert subscriber.messages() == [
            {"type": "score_update", "data": {"user_id": player.user_id, "new_score": 7}},
            {"type": "top_10_update", "data": {"top_10_scores": [entry]}},
        ]

    def test_an_unchanged_top_10_is_not_sent(self, client, scorer, make_user, subscriber):
        users = [make_user() for _ in range(11)]
        for person in users[:10]:
            post(client, scorer, person.update(10))
        before = len(subscriber.messages())

        post(client, scorer, users[10].update(1))

        assert [message["type"] for message in subscriber.messages()[before:]] == ["score_update"]

    def test_a_failing_push_does_not_fail_the_update(self, app, client, player):
        class Broken:
            def push(self, frames):
                raise RuntimeError

        services(app).subscribers.by_protocol["websocket"].add(Broken())

        assert post(client, player, player.update(7)).status_code == 200


NONCES = pytest.mark.parametrize("nonce", [{}, {"nonce": "abcdefgh"}], ids=["without", "with"])


class TestReplays:
    def test_refused_updates_create_no_version_of_the_board(self, client, player, scorer):
        post(client, scorer, player.update(7))
        before = client.get("/api/leaderboard").headers["ETag"]

        updates = [player.update(7), {**player.update(8), "user_id": UNKNOWN}]
        codes = [code(post(client, scorer, update)) for update in updates]

        assert codes == [(400, "replayed"), (400, "unknown_user")]
        assert client.get("/api/leaderboard").headers["ETag"] == before

    @NONCES
    @pytest.mark.parametrize("ahead", [None, 4])
    def test_a_replay_changes_nothing_and_has_the_first_receipt(
        self, client, player, subscriber, nonce, ahead
    ):
        update = player.update(7, in_minutes(ahead) if ahead else "2026-01-01", **nonce)
        first = post(client, player, update)
        post(client, player, player.update(9, in_minutes(0), nonce="otherone"))
        before = subscriber.messages()

        replay = post(client, player, update)

        assert code(replay) == (400, "replayed")
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
            response = post(client, player, update)
        replay = post(client, player, update)

        assert code(response) == (500, "server_error")
        assert code(replay) == (400, "replayed")
        assert replay.json["error"]["receipt"]["score"] == 7
        assert top10(client) == [{"user_id": player.user_id, "score": 7}]

    @NONCES
    def test_each_submitter_has_its_own_updates_and_receipts(self, client, player, scorer, nonce):
        update = player.update(7, **nonce)
        first = [post(client, person, update).json for person in (player, scorer)]

        replays = [post(client, person, update).json for person in (player, scorer)]

        assert first[0]["score_id"] != first[1]["score_id"]
        assert [replay["error"]["receipt"] for replay in replays] == first

    @pytest.mark.parametrize(
        ("name", "other"),
        [
            ("score_value", lambda: 8),
            ("timestamp", lambda: "2026-01-02"),
            ("timestamp", lambda: in_minutes(3)),
        ],
        ids=["value", "timestamp", "timestamp ahead"],
    )
    def test_a_different_request_with_the_same_nonce_has_no_receipt(
        self, client, player, name, other
    ):
        update = player.update(7, in_minutes(4), nonce="abcdefgh")
        post(client, player, update)

        response = post(client, player, {**update, name: other()})

        assert code(response) == (400, "replayed")
        assert "receipt" not in response.json["error"]

    def test_nonces_distinguish_equal_updates_of_one_user(self, client, scorer, make_user):
        one, other = make_user(), make_user()
        updates = [
            one.update(7, nonce="abcdefgh"),
            one.update(7, nonce="ijklmnop"),
            other.update(7, nonce="abcdefgh"),
        ]

        assert [post(client, scorer, update).status_code for update in updates] == [200] * 3


class TestAuthorization:
    @pytest.mark.parametrize(
        ("role", "own", "others"),
        [("viewer", 401, 401), ("player", 200, 401), ("scorer", 200, 200), ("admin", 200, 200)],
    )
    def test_the_role_decides_which_scores_may_be_updated(
        self, client, make_user, role, own, others
    ):
        person, other = make_user(role), make_user()

        assert post(client, person, person.update(1)).status_code == own
        assert post(client, person, other.update(1)).status_code == others

    def test_an_update_needs_the_token_of_a_user(self, client, player):
        token = client.post("/api/auth/viewer").json["access_token"]

        responses = [
            client.post(URL, json=player.update(1), headers=headers)
            for headers in ({}, {"Authorization": f"Bearer {token}"})
        ]

        assert [code(r) for r in responses] == [(401, "token_missing"), (401, "not_permitted")]
        assert {r.headers["WWW-Authenticate"] for r in responses} == {"Bearer"}

    def test_an_unknown_user_has_no_score_to_update(self, client, scorer):
        response = post(client, scorer, {**scorer.update(1), "user_id": UNKNOWN})

        assert code(response) == (400, "unknown_user")
        assert "user_id" in response.json["error"]["fields"]


@pytest.mark.parametrize("settings", [{"SCORE_RATE_LIMIT": "2/day"}])
class TestRateLimit:
    def test_updates_over_the_limit_change_nothing_and_have_a_wait(self, client, player):
        responses = [post(client, player, player.update(value)) for value in range(3)]

        assert [code(r) for r in responses] == [(200, None), (200, None), (429, "rate_limited")]
        assert 86_000 < int(responses[2].headers["Retry-After"]) <= 86_401
        assert top10(client)[0]["score"] == 1

    def test_each_user_has_its_own_limit(self, client, scorer, make_user):
        responses = [post(client, scorer, make_user().update(1)) for _ in range(3)]

        assert [response.status_code for response in responses] == [200, 200, 200]

    def test_invalid_and_unauthorized_updates_do_not_count(self, client, player, make_user):
        for _ in range(3):
            post(client, player, player.update("seven"))
            post(client, make_user(), player.update(1))

        assert post(client, player, player.update(1)).status_code == 200
