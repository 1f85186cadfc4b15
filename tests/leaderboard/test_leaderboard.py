"""The leaderboard and the past scores of users over HTTP."""

import uuid
from datetime import datetime

import pytest
import requests
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from itsdangerous import URLSafeSerializer

from tests.support import standings
from tests.support.api import UNKNOWN_ID, submit
from tests.support.responses import status_and_code
from tests.support.servers import SECRETS


@pytest.fixture
def rank(app):
    """Return a function that ranks the first players with these scores, a minute apart."""
    standings.create_users(80)

    def rank(scores):
        standings.put([(score, minute % 60, False) for minute, score in enumerate(scores)])

    return rank


@pytest.fixture
def post(client):
    """Return a function that updates a user's score and returns the receipt."""

    def post(user, score, timestamp="2026-01-01T00:00:00Z"):
        response = submit(client, user, user.update(score, timestamp, nonce=uuid.uuid4().hex))
        assert response.status_code == 200
        return response.json

    return post


@pytest.fixture
def get(client):
    """Return a function that gets the JSON at a path below /api."""

    def get(path, **query):
        response = client.get(f"/api/{path}", query_string=query)
        assert response.status_code == 200, response.json
        return response.json

    return get


def column(name, entries):
    return [entry[name] for entry in entries]


class TestPages:
    def test_an_empty_board_has_an_empty_page(self, get):
        assert get("leaderboard") == {"entries": [], "total": 0, "next": None}

    def test_an_entry_has_the_user_the_score_and_when_it_was_reached(self, get, post, make_user):
        ann = make_user(name="Ann")
        receipt = post(ann, 7)

        (entry,) = get("leaderboard")["entries"]

        assert entry == {
            "rank": 1,
            "position": 1,
            "user_id": ann.user_id,
            "username": "Ann",
            "score": 7,
            "reached_at": receipt["created_at"],
        }
        assert type(entry["score"]) is int
        assert datetime.fromisoformat(entry["reached_at"]).tzinfo

    @pytest.mark.parametrize(
        ("limit", "sizes"),
        [({}, [50, 26]), ({"limit": 25}, [25, 25, 25, 1]), ({"limit": 38}, [38, 38])],
    )
    def test_pages_are_full_except_the_final_one(self, get, rank, limit, sizes):
        rank(range(76))

        pages = [get("leaderboard", **limit)]
        while pages[-1]["next"]:
            pages.append(get("leaderboard", **limit, cursor=pages[-1]["next"]))

        assert [len(page["entries"]) for page in pages] == sizes


class TestSearch:
    def test_users_with_the_text_in_their_name_are_found_with_their_ranks(
        self, get, post, make_user
    ):
        for name, score in {"Søren K": 9, "Bo": 7, "søren": 7, "Ann_1": 5, "Ann11": 3}.items():
            post(make_user(name=name), score)
        make_user(name="Søren without a score")

        pages = [get("boards/main/leaderboard", query=query) for query in (" SØREN", "n_")]

        lines = [[(e["rank"], e["position"], e["username"]) for e in p["entries"]] for p in pages]
        assert lines == [[(1, 1, "Søren K"), (2, 3, "søren")], [(4, 4, "Ann_1")]]
        assert [(page["total"], page["next"]) for page in pages] == [(2, None), (1, None)]

    def test_a_hidden_user_is_not_found(self, client, get, post, player, admin):
        post(player, 1)
        client.post(f"/api/admin/users/{player.user_id}/hide", headers=admin.bearer)

        assert get("boards/main/leaderboard", query="player")["entries"] == []

    def test_the_first_twenty_are_returned(self, get, post, make_user):
        for score in range(21):
            post(make_user(name=f"Twin {score}"), score)

        page = get("boards/main/leaderboard", query="twin")

        assert column("rank", page["entries"]) == list(range(1, 21))


def neighbours(client, user_id):
    return client.get(f"/api/leaderboard/users/{user_id}")


class TestNeighbours:
    @pytest.mark.parametrize(
        ("number", "expected"),
        [
            (29, range(42, 53)),  # five on either side
            (73, range(1, 9)),
            (2, range(69, 77)),
        ],
    )
    def test_five_on_either_side_are_the_default(self, get, rank, number, expected):
        rank(range(76))

        found = get(f"leaderboard/users/{standings.user_id(number)}")

        assert column("position", found["entries"]) == list(expected)

    def test_a_user_id_may_be_in_upper_case(self, get, post, player):
        post(player, 1)

        assert get(f"leaderboard/users/{player.user_id.upper()}")["entry"]["rank"] == 1

    def test_a_user_without_a_score_and_an_unknown_user_are_not_found(self, client, player):
        assert status_and_code(neighbours(client, player.user_id)) == (404, "not_ranked")
        assert status_and_code(neighbours(client, UNKNOWN_ID)) == (404, "unknown_user")


@pytest.mark.parametrize(
    ("path", "body"),
    [("users/{user_id}/hide", {}), ("scores/{score_id}/void", {"reason": "cheated"})],
    ids=["hidden", "void"],
)
def test_a_hidden_user_and_one_without_a_valid_score_are_not_ranked(
    client, get, post, player, make_user, path, body
):
    url = f"/api/admin/{path.format(**post(player, 100))}"

    client.post(url, json=body, headers=make_user("admin").bearer)

    assert get("leaderboard")["total"] == 0
    assert status_and_code(neighbours(client, player.user_id)) == (404, "not_ranked")


def cursor(key, kind, *content):
    return {"cursor": URLSafeSerializer(key, kind).dumps(content)}


@pytest.mark.parametrize(
    ("path", "query", "field"),
    [
        *(
            ("leaderboard", {"limit": limit}, "limit")
            for limit in ("0", "101", "-5", "many", "1.5", "1_0", " 10", "１０", "", "9" * 5000)
        ),
        *(("leaderboard", {"cursor": text}, "cursor") for text in ("", "x", "\x00é💥")),
        (
            "leaderboard",
            cursor("another key", "page", [5, "2026-01-01T00:00:00Z", UNKNOWN_ID], 1, 1, ""),
            "cursor",
        ),
        ("leaderboard", cursor(SECRETS["SECRET_KEY"], "scores", 7), "cursor"),
        *((f"leaderboard/users/{UNKNOWN_ID}", {"around": n}, "around") for n in ("-1", "51", "x")),
        ("leaderboard/users/me", {}, "user_id"),
        (f"users/{UNKNOWN_ID}/scores", {"limit": "101"}, "limit"),
        (f"users/{UNKNOWN_ID}/scores", {"cursor": "x"}, "cursor"),
        ("users/me/scores", {}, "user_id"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_an_invalid_parameter_is_named_in_the_error(client, scorer, path, query, field):
    response = client.get(f"/api/{path}", query_string=query, headers=scorer.bearer)

    assert status_and_code(response) == (400, "invalid_input")
    assert list(response.json["error"]["fields"]) == [field]


MANY = "&".join(f"utm_{number}=x" for number in range(100))


@pytest.mark.parametrize("extra", ["_=1441835249458", "fbclid=a&utm_source=b", "page=2", MANY])
@pytest.mark.parametrize(
    "path", ["score/top10", "leaderboard", "leaderboard/users/{}", "users/{}/scores"]
)
def test_unknown_parameters_are_ignored(client, post, player, path, extra):
    post(player, 5)
    url = f"/api/{path.format(player.user_id)}"
    expected = client.get(url, headers=player.bearer)

    response = client.get(f"{url}?{extra}", headers=player.bearer)

    assert (response.status_code, response.json) == (200, expected.json)


def test_an_altered_cursor_is_refused(client, rank):
    rank([3, 2**53 - 1, 1.5])
    valid = client.get("/api/leaderboard?limit=1").json["next"]

    assert client.get(f"/api/leaderboard?cursor={valid}").json["entries"][0]["score"] == 3
    for index in range(len(valid) - 1):  # some bits of the final letter have no meaning
        letter = "A" if valid[index] != "A" else "B"
        altered = valid[:index] + letter + valid[index + 1 :]
        response = client.get("/api/leaderboard", query_string={"cursor": altered})
        assert status_and_code(response) == (400, "invalid_input")


@hypothesis_settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(cursor=st.text() | st.from_regex(r"\A\.?[\w-]{0,20}\.[\w-]{27}\Z", fullmatch=True))
def test_any_text_that_is_no_cursor_is_refused(client, cursor):
    response = client.get("/api/leaderboard", query_string={"cursor": cursor})

    assert status_and_code(response) == (400, "invalid_input")


@pytest.mark.parametrize("settings", [{"PUBLIC_BOARD": "0"}])
@pytest.mark.parametrize("path", ["leaderboard", "leaderboard/users/{}"])
def test_a_private_board_requires_a_token_even_with_a_current_etag(
    client, post, player, make_user, path
):
    post(player, 1)
    url = f"/api/{path.format(player.user_id)}"
    permitted = client.get(url, headers=make_user("viewer").bearer)

    refused = client.get(url, headers={"If-None-Match": permitted.headers["ETag"]})

    assert permitted.status_code == 200
    assert status_and_code(refused) == (401, "token_missing")


def past_scores(client, user, owner=None, **query):
    url = f"/api/users/{(owner or user).user_id}/scores"
    return client.get(url, query_string=query, headers=user.bearer)


class TestPastScores:
    def test_are_listed_newest_first(self, client, post, player):
        receipts = [post(player, score) for score in (3, 1.5, 2)]
        post(player, 9, "2025-12-31T00:00:00Z")  # late: it only enters the history

        found = past_scores(client, player).json

        late, *scores = found["scores"]
        assert (late["score_value"], late["score"], late["applied"]) == (9, 2, False)
        assert column("score_id", scores) == column("score_id", reversed(receipts))
        assert scores[1] == {
            "score_id": receipts[1]["score_id"],
            "score_value": 1.5,
            "timestamp": "2026-01-01T00:00:00Z",
            "created_at": receipts[1]["created_at"],
            "score": 1.5,
            "applied": True,
            "voided_at": None,
        }
        assert found["next"] is None

    def test_are_in_pages(self, client, post, player, make_user):
        other = make_user()
        for score in range(7):
            post(player, score)
            post(other, 1)

        pages = [past_scores(client, player, limit=3).json]
        while pages[-1]["next"]:
            pages.append(past_scores(client, player, limit=3, cursor=pages[-1]["next"]).json)

        found = [column("score_value", page["scores"]) for page in pages]
        assert found == [[6, 5, 4], [3, 2, 1], [0]]

    def test_a_void_score_has_the_time_of_its_void(self, client, post, player, make_user):
        url = f"/api/admin/scores/{post(player, 100)['score_id']}/void"

        voided = client.post(url, json={"reason": "cheated"}, headers=make_user("admin").bearer)

        (score,) = past_scores(client, player).json["scores"]
        assert score["voided_at"] == voided.json["voided_at"]

    def test_are_empty_without_an_update(self, client, player):
        assert past_scores(client, player).json == {"scores": [], "next": None}

    @pytest.mark.parametrize(
        ("role", "status"), [("scorer", 200), ("admin", 200), ("player", 401), ("viewer", 401)]
    )
    def test_of_another_user_require_a_permission(self, client, player, make_user, role, status):
        response = past_scores(client, make_user(role), player)

        assert status_and_code(response) == (status, "not_permitted" if status == 401 else None)

    def test_of_an_unknown_user_are_not_found(self, client, scorer):
        response = client.get(f"/api/users/{UNKNOWN_ID}/scores", headers=scorer.bearer)

        assert status_and_code(response) == (404, "unknown_user")


def test_a_running_server_serves_every_read(server):
    """On eventlet the reads run in threads."""
    users = [server.user(f"ranked-{number}") for number in range(3)]
    for score, user in enumerate(users):
        assert server.post(user.token, user.update(score)).status_code == 200

    def get(path, **options):
        return requests.get(f"{server.url}/api/{path}", timeout=10, **options)

    first = get("leaderboard?limit=2")
    second = get(f"leaderboard?cursor={first.json()['next']}")
    neighbours = get(f"leaderboard/users/{users[0].user_id}")
    scores = get(f"users/{users[0].user_id}/scores", headers=users[0].bearer)
    again = get("leaderboard?limit=2", headers={"If-None-Match": first.headers["ETag"]})

    entries = first.json()["entries"] + second.json()["entries"]
    assert column("username", entries) == ["ranked-2", "ranked-1", "ranked-0"]
    assert neighbours.json() == {"entry": entries[2], "entries": entries, "total": 3}
    assert column("score", scores.json()["scores"]) == [0]
    assert (again.status_code, again.content) == (304, b"")
