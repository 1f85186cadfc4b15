"""Submitting a score, and what it leads to."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.exc import OperationalError

from scoreboard.extensions import db
from scoreboard.models import MAX_SCORE
from scoreboard.services import services

URL = "/api/score/update"


def post(client, person, update):
    return client.post(URL, json=update, headers=person.bearer)


def top10(client):
    return client.get("/api/score/top10").json


def test_an_accepted_update_answers_with_its_receipt(client, player):
    answer = post(client, player, player.update(7.5))

    assert answer.status_code == 200
    assert answer.json.keys() == {"user_id", "score", "score_id", "created_at", "applied"}
    assert (answer.json["user_id"], answer.json["score"]) == (player.user_id, 7.5)
    assert answer.json["applied"] is True


def test_the_receipt_has_the_servers_time(client, player):
    before = datetime.now(UTC)

    created_at = post(client, player, player.update(1)).json["created_at"]

    assert before <= datetime.fromisoformat(created_at) <= datetime.now(UTC)


@pytest.mark.parametrize(("given", "told"), [("120", "120"), ("120.0", "120"), ("-0.0", "0")])
def test_a_whole_number_comes_back_whole(client, player, given, told):
    body = f'{{"user_id": "{player.user_id}", "score_value": {given}, "timestamp": "2026-01-01"}}'

    answer = client.post(URL, data=body, headers=player.bearer)

    assert f'"score":{told},' in answer.text
    assert f'"score":{told}}}' in client.get("/api/score/top10").text


@pytest.mark.parametrize("value", [MAX_SCORE, -MAX_SCORE, 0.1, -1.5])
def test_a_number_comes_back_exactly(client, player, value):
    assert post(client, player, player.update(value)).json["score"] == value


def test_the_top_10_is_empty_at_first(client):
    assert top10(client) == {"top_10_scores": []}


def test_the_top_10_has_the_ten_highest_highest_first(client, scorer, make_user):
    people = [make_user() for _ in range(12)]
    for score, person in enumerate(people):
        post(client, scorer, person.update(score))

    expected = [{"user_id": person.user_id, "score": s} for s, person in enumerate(people)]
    assert top10(client) == {"top_10_scores": expected[:1:-1]}


def test_of_equal_scores_the_one_reached_first_is_ahead(client, scorer, make_user):
    people = [make_user() for _ in range(3)]
    for person in people:
        post(client, scorer, person.update(5))

    assert [entry["user_id"] for entry in top10(client)["top_10_scores"]] == [
        person.user_id for person in people
    ]


def test_setting_the_same_score_again_does_not_lose_the_place_in_a_tie(client, scorer, make_user):
    first, second = make_user(), make_user()
    post(client, scorer, first.update(5))
    post(client, scorer, second.update(5))

    post(client, scorer, first.update(5, "2026-01-02T00:00:00Z"))

    assert top10(client)["top_10_scores"][0]["user_id"] == first.user_id


def test_an_older_update_is_history_only(client, player, watcher):
    post(client, player, player.update(5, "2026-01-02T00:00:00Z"))

    answer = post(client, player, player.update(9, "2026-01-01T00:00:00Z"))

    assert answer.status_code == 200
    assert (answer.json["score"], answer.json["applied"]) == (5, False)
    assert top10(client)["top_10_scores"][0]["score"] == 5
    told = {"type": "score_update", "data": {"user_id": player.user_id, "new_score": 5}}
    assert watcher.messages()[-1] == told


def test_of_equal_timestamps_the_later_arrival_wins(client, player):
    post(client, player, player.update(5))

    assert post(client, player, player.update(3)).json["score"] == 3


def test_a_timestamp_without_offset_is_utc(client, player):
    post(client, player, player.update(5, "2026-01-01T12:00:00"))

    replay = post(client, player, player.update(5, "2026-01-01T14:00:00+02:00"))

    assert replay.json["error"]["code"] == "replayed"


def test_a_timestamp_may_be_five_minutes_ahead_but_not_more(client, player):
    now = datetime.now(UTC)

    near = post(client, player, player.update(1, (now + timedelta(minutes=4)).isoformat()))
    far = post(client, player, player.update(2, (now + timedelta(minutes=6)).isoformat()))

    assert near.status_code == 200
    assert (far.status_code, far.json["error"]["code"]) == (400, "timestamp_in_future")


def ahead(minutes):
    return (datetime.now(UTC) + timedelta(minutes=minutes)).isoformat()


def test_a_timestamp_ahead_counts_as_the_moment_of_its_arrival(client, player, scorer):
    post(client, player, player.update(9, ahead(4)))

    answer = post(client, scorer, player.update(5, ahead(0)))

    assert (answer.json["score"], answer.json["applied"]) == (5, True)


def test_of_timestamps_ahead_the_later_arrival_wins_whatever_they_say(client, player):
    post(client, player, player.update(9, ahead(4)))

    assert post(client, player, player.update(5, ahead(2))).json["score"] == 5


@pytest.mark.parametrize("nonce", [{}, {"nonce": "abcdefgh"}], ids=["without", "with nonce"])
def test_a_repeat_of_a_timestamp_ahead_carries_the_receipt(client, player, nonce):
    update = player.update(9, ahead(4), **nonce)
    first = post(client, player, update)

    repeat = post(client, player, update)

    assert repeat.json["error"]["receipt"] == first.json


def test_another_timestamp_ahead_under_the_same_nonce_carries_no_receipt(client, player):
    post(client, player, player.update(9, ahead(4), nonce="abcdefgh"))

    repeat = post(client, player, player.update(9, ahead(3), nonce="abcdefgh"))

    assert repeat.json["error"]["code"] == "replayed"
    assert "receipt" not in repeat.json["error"]


@pytest.mark.parametrize(
    "written",
    [
        "2026-01-01T12:00:00,250Z",
        "2026-01-01t12:00:00.250z",
        "2026-01-01t14:00:00,25+02:00",
        "20260101T120000,25z",
    ],
)
def test_a_timestamp_may_have_a_comma_and_lower_case_letters(client, player, written):
    post(client, player, player.update(5, "2026-01-01T12:00:00.25Z"))

    replay = post(client, player, player.update(5, written))

    assert replay.json["error"]["code"] == "replayed"


@pytest.mark.parametrize(
    ("settings", "scores"),
    [
        ({"SCORE_POLICY": "latest"}, [5, 3, 8, 8]),
        ({"SCORE_POLICY": "best"}, [5, 5, 8, 8]),
        ({"SCORE_POLICY": "total"}, [5, 8, 16, 24]),
    ],
)
def test_the_policy_decides_what_the_score_is(client, player, scores):
    told = [
        post(client, player, player.update(value, f"2026-01-0{day}T00:00:00Z")).json["score"]
        for day, value in enumerate([5, 3, 8, 8], start=1)
    ]

    assert told == scores


@pytest.mark.parametrize("settings", [{"SCORE_POLICY": "total"}])
def test_a_total_out_of_range_is_refused(client, player):
    post(client, player, player.update(MAX_SCORE))

    answer = post(client, player, player.update(1, "2026-01-02T00:00:00Z"))

    assert answer.status_code == 400
    assert "score_value" in answer.json["error"]["fields"]
    assert top10(client)["top_10_scores"][0]["score"] == MAX_SCORE


TOTAL = [{"SCORE_POLICY": "total"}]


def add(client, person, *values):
    """Submit these values; return the answer to the last."""
    for value in values:
        answer = post(client, person, person.update(value, nonce=uuid.uuid4().hex))
    return answer


@pytest.mark.parametrize("settings", TOTAL)
class TestTotal:
    @pytest.mark.parametrize(
        ("values", "score"),
        [
            ([0.1, 0.2, 0.3], 0.6),
            ([0.1] * 10, 1),
            ([1e-9] * 3, 3e-9),
            ([-0.1, -0.2, 0.3], 0),
            ([MAX_SCORE, -0.3, -MAX_SCORE], -0.3),
            ([MAX_SCORE, 0.3, -MAX_SCORE], 0.3),
            ([-MAX_SCORE, -0.000000001, MAX_SCORE], -0.000000001),
            ([8_999_999.12345679, 0.000000001], 8_999_999.123456791),
        ],
    )
    def test_values_add_up_exactly_in_any_order(self, client, make_user, values, score):
        there, back = make_user(), make_user()

        assert add(client, there, *values).json["score"] == score
        assert add(client, back, *reversed(values)).json["score"] == score

    @pytest.mark.parametrize("sign", [1, -1])
    def test_a_fraction_beyond_the_largest_score_counts_and_is_seen(self, client, player, sign):
        add(client, player, sign * MAX_SCORE)

        assert add(client, player, sign * 0.25).json["score"] == sign * (MAX_SCORE + 1)
        assert add(client, player, sign * -0.25).json["score"] == sign * MAX_SCORE

    @pytest.mark.parametrize("sign", [1, -1])
    def test_a_total_does_not_reach_the_next_whole_number(self, client, player, sign):
        add(client, player, sign * MAX_SCORE, sign * 0.999999999)

        answer = add(client, player, sign * 0.000000001)

        assert (answer.status_code, answer.json["error"]["code"]) == (400, "invalid_input")
        assert "score_value" in answer.json["error"]["fields"]
        assert add(client, player, sign * -MAX_SCORE).json["score"] == sign * 0.999999999

    @pytest.mark.parametrize("value", [0.1234567891, 1e-10, -5e-324, 1234.0000000001])
    def test_more_than_nine_decimals_are_refused(self, client, player, value):
        answer = post(client, player, player.update(value))

        assert (answer.status_code, answer.json["error"]["code"]) == (400, "invalid_input")
        assert "decimals" in answer.json["error"]["fields"]["score_value"][0]
        assert top10(client) == {"top_10_scores": []}


def test_only_totals_have_a_limit_of_decimals(client, player):
    assert post(client, player, player.update(0.1234567891)).json["score"] == 0.1234567891


class TestMessages:
    def test_an_update_sends_the_score_and_then_the_top_10(self, client, player, watcher):
        post(client, player, player.update(7))

        entry = {"user_id": player.user_id, "score": 7}
        assert watcher.messages() == [
            {"type": "score_update", "data": {"user_id": player.user_id, "new_score": 7}},
            {"type": "top_10_update", "data": {"top_10_scores": [entry]}},
        ]

    def test_the_top_10_is_not_sent_when_it_did_not_change(
        self, client, scorer, make_user, watcher
    ):
        people = [make_user() for _ in range(11)]
        for person in people[:10]:
            post(client, scorer, person.update(10))
        seen = len(watcher.messages())

        post(client, scorer, people[10].update(1))

        assert [message["type"] for message in watcher.messages()[seen:]] == ["score_update"]

    def test_a_push_that_fails_does_not_fail_the_update(self, app, client, player):
        class Broken:
            def push(self, frames):
                raise RuntimeError

        services(app).subscribers.by_protocol["websocket"].add(Broken())

        assert post(client, player, player.update(7)).status_code == 200


NOBODY = "00000000-0000-4000-8000-000000000000"


class TestReplays:
    def test_updates_that_are_refused_make_no_version_of_the_board(self, client, player, scorer):
        post(client, scorer, player.update(7))
        before = client.get("/api/leaderboard").headers["ETag"]

        answers = [
            post(client, scorer, update).json["error"]["code"]
            for update in (player.update(7), {**player.update(8), "user_id": NOBODY})
        ]

        assert answers == ["replayed", "unknown_user"]
        assert client.get("/api/leaderboard").headers["ETag"] == before

    def test_a_replayed_update_changes_nothing_and_tells_nobody(self, client, player, watcher):
        post(client, player, player.update(7))
        seen = watcher.messages()

        answer = post(client, player, player.update(7))

        assert (answer.status_code, answer.json["error"]["code"]) == (400, "replayed")
        assert watcher.messages() == seen

    def test_a_repeat_by_the_same_caller_carries_the_first_receipt(self, client, player):
        first = post(client, player, player.update(7, nonce="abcdefgh"))
        post(client, player, player.update(9, nonce="otherone"))

        repeat = post(client, player, player.update(7, nonce="abcdefgh"))

        assert repeat.json["error"]["receipt"] == first.json

    def test_an_update_whose_commit_was_not_heard_of_is_told_by_its_repeat(
        self, app, client, player, monkeypatch
    ):
        dialect, update = db.engine.dialect, player.update(7, nonce="abcdefgh")
        commit = dialect.do_commit

        def lose(connection):
            commit(connection)
            raise OperationalError("COMMIT", {}, Exception("the connection was lost"))

        with monkeypatch.context() as patched:
            patched.setattr(dialect, "do_commit", lose)
            answer = post(client, player, update)
        repeat = post(client, player, update)

        assert (answer.status_code, answer.json["error"]["code"]) == (500, "server_error")
        assert (repeat.status_code, repeat.json["error"]["code"]) == (400, "replayed")
        assert repeat.json["error"]["receipt"]["score"] == 7
        assert top10(client)["top_10_scores"] == [{"user_id": player.user_id, "score": 7}]

    @pytest.mark.parametrize("nonce", [{}, {"nonce": "abcdefgh"}], ids=["without", "with nonce"])
    def test_the_same_update_by_another_submitter_is_another_update(
        self, client, player, scorer, nonce
    ):
        first = post(client, player, player.update(7, **nonce))

        second = post(client, scorer, player.update(7, **nonce))

        assert (first.status_code, second.status_code) == (200, 200)
        assert first.json["score_id"] != second.json["score_id"]

    def test_of_two_submitters_each_gets_the_receipt_of_its_own_update(
        self, client, player, scorer
    ):
        update = player.update(7, nonce="abcdefgh")
        first = [post(client, person, update).json for person in (player, scorer)]

        repeats = [post(client, person, update).json for person in (player, scorer)]

        assert [repeat["error"]["receipt"] for repeat in repeats] == first

    @pytest.mark.parametrize(
        "other", [{"score_value": 8}, {"timestamp": "2026-01-02T00:00:00Z"}], ids=str
    )
    def test_another_request_under_the_same_nonce_carries_no_receipt(self, client, player, other):
        post(client, player, player.update(7, nonce="abcdefgh"))

        repeat = post(client, player, {**player.update(7, nonce="abcdefgh"), **other})

        assert repeat.json["error"]["code"] == "replayed"
        assert "receipt" not in repeat.json["error"]

    def test_a_nonce_makes_equal_updates_different(self, client, player):
        post(client, player, player.update(7, nonce="abcdefgh"))

        assert post(client, player, player.update(7, nonce="ijklmnop")).status_code == 200

    def test_a_nonce_is_one_users_only(self, client, scorer, make_user):
        post(client, scorer, make_user().update(7, nonce="abcdefgh"))

        assert post(client, scorer, make_user().update(7, nonce="abcdefgh")).status_code == 200


class TestAuthorization:
    @pytest.mark.parametrize(
        ("role", "own", "others"),
        [
            ("viewer", 401, 401),
            ("player", 200, 401),
            ("scorer", 200, 200),
            ("admin", 200, 200),
        ],
    )
    def test_the_role_decides_whose_score_may_be_updated(
        self, client, make_user, role, own, others
    ):
        person, other = make_user(role), make_user()

        assert post(client, person, person.update(1)).status_code == own
        assert post(client, person, other.update(1)).status_code == others

    def test_nobody_updates_without_a_token(self, client, player):
        answer = client.post(URL, json=player.update(1))

        assert (answer.status_code, answer.json["error"]["code"]) == (401, "token_missing")
        assert answer.headers["WWW-Authenticate"] == "Bearer"

    def test_a_public_viewer_token_updates_nothing(self, client, player):
        token = client.post("/api/auth/viewer").json["access_token"]

        answer = client.post(
            URL, json=player.update(1), headers={"Authorization": f"Bearer {token}"}
        )

        assert (answer.status_code, answer.json["error"]["code"]) == (401, "not_permitted")

    def test_an_unknown_user_has_no_score_to_update(self, client, scorer):
        update = {**scorer.update(1), "user_id": "00000000-0000-4000-8000-000000000000"}

        answer = post(client, scorer, update)

        assert (answer.status_code, answer.json["error"]["code"]) == (400, "unknown_user")
        assert "user_id" in answer.json["error"]["fields"]


@pytest.mark.parametrize("settings", [{"SCORE_RATE_LIMIT": "2/day"}])
class TestLimit:
    def test_too_many_updates_are_refused_with_the_time_to_wait(self, client, player):
        answers = [post(client, player, player.update(value)) for value in range(3)]

        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert answers[2].json["error"]["code"] == "rate_limited"
        assert 86_000 < int(answers[2].headers["Retry-After"]) <= 86_401

    def test_the_limit_is_each_users_own(self, client, scorer, make_user):
        answers = [post(client, scorer, make_user().update(1)) for _ in range(3)]

        assert [answer.status_code for answer in answers] == [200, 200, 200]

    def test_what_is_invalid_or_not_permitted_does_not_count(self, client, player, make_user):
        for _ in range(3):
            post(client, player, player.update("seven"))
            post(client, make_user(), player.update(1))

        assert post(client, player, player.update(1)).status_code == 200

    def test_a_refused_update_changes_nothing(self, client, player, watcher):
        for value in range(3):
            post(client, player, player.update(value))

        assert top10(client)["top_10_scores"][0]["score"] == 1
