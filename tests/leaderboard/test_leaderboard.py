"""The leaderboard and the history of scores over HTTP."""

import uuid
from datetime import datetime

import pytest
import requests
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from itsdangerous import URLSafeSerializer

from tests.support import standings
from tests.support.servers import SECRETS

UNKNOWN = "00000000-0000-4000-8000-999999999999"


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

    def post(person, score, timestamp="2026-01-01T00:00:00Z"):
        update = person.update(score, timestamp, nonce=uuid.uuid4().hex)
        response = client.post("/api/score/update", json=update, headers=person.bearer)
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


def code(response):
    return response.status_code, response.json.get("error", {}).get("code")


class TestPages:
    def test_an_empty_board_has_an_empty_page(self, get):
        assert get("leaderboard") == {"entries": [], "total": 0, "next": None}

    def test_an_entry_has_the_user_the_score_and_since_when(self, get, post, make_user):
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

        entries = [entry for page in pages for entry in page["entries"]]
        assert [len(page["entries"]) for page in pages] == sizes
        assert {page["total"] for page in pages} == {76}
        assert column("position", entries) == column("rank", entries) == [*range(1, 77)]
        assert column("score", entries) == [*range(75, -1, -1)]

    def test_a_page_past_the_end_is_empty(self, get, rank):
        rank([3, 2, 1])
        cursor = get("leaderboard", limit=2)["next"]

        rank([3, 2])

        expected = {"entries": [], "total": 2, "next": None}
        assert get("leaderboard", limit=2, cursor=cursor) == expected

    def test_equal_scores_share_a_rank_across_pages(self, get, rank):
        rank([50, 50, 50, 50, 30, 30, 30, 30, 10, 10])

        first = get("leaderboard", limit=3)
        second = get("leaderboard", limit=3, cursor=first["next"])

        assert column("rank", first["entries"] + second["entries"]) == [1, 1, 1, 1, 5, 5]
        assert column("position", second["entries"]) == [4, 5, 6]

    def test_equal_scores_are_in_the_order_in_which_they_were_reached(self, get, post, make_user):
        early, late = make_user(), make_user()
        post(late, 1)
        post(early, 5)
        post(late, 5)

        assert column("user_id", get("leaderboard")["entries"]) == [early.user_id, late.user_id]

    def test_the_next_page_is_of_the_current_board(self, get, post, make_user):
        players = [make_user() for _ in range(4)]
        for player, score in zip(players, [40, 30, 20, 10], strict=True):
            post(player, score)
        cursor = get("leaderboard", limit=2)["next"]

        post(players[3], 50)

        (entry,) = get("leaderboard", limit=2, cursor=cursor)["entries"]
        assert (entry["user_id"], entry["rank"]) == (players[2].user_id, 4)


class TestNeighbours:
    @pytest.mark.parametrize(
        ("number", "expected"),
        [
            (29, range(42, 53)),  # five on either side
            (75, range(1, 7)),  # the top
            (73, range(1, 9)),
            (0, range(71, 77)),  # the bottom
            (2, range(69, 77)),
        ],
    )
    def test_neighbours_end_at_the_ends_of_the_board(self, get, rank, number, expected):
        rank(range(76))

        found = get(f"leaderboard/users/{standings.user_id(number)}")

        assert column("position", found["entries"]) == list(expected)
        assert found["entry"] in found["entries"]
        assert found["entry"]["position"] == 76 - number
        assert found["total"] == 76

    @pytest.mark.parametrize(("around", "ranks"), [(0, [5]), (3, [1, 1, 5, 5, 5, 5, 9])])
    def test_around_is_the_number_on_either_side(self, get, rank, around, ranks):
        rank([50, 50, 50, 50, 30, 30, 30, 30, 10, 10])

        found = get(f"leaderboard/users/{standings.user_id(5)}", around=around)

        assert column("rank", found["entries"]) == ranks
        assert found["entries"][around] == found["entry"]

    def test_a_user_id_may_be_in_upper_case(self, get, post, player):
        post(player, 1)

        assert get(f"leaderboard/users/{player.user_id.upper()}")["entry"]["rank"] == 1

    def test_a_user_without_a_score_is_not_ranked(self, client, player):
        assert code(neighbours(client, player.user_id)) == (404, "not_ranked")

    def test_an_unknown_user_is_not_found(self, client):
        assert code(neighbours(client, UNKNOWN)) == (404, "unknown_user")


def neighbours(client, user_id):
    return client.get(f"/api/leaderboard/users/{user_id}")


class TestModeration:
    @pytest.fixture
    def act(self, client, make_user):
        """Return a function that posts to a path below /api/admin."""
        admin = make_user("admin")

        def act(path, **body):
            response = client.post(f"/api/admin/{path}", json=body, headers=admin.bearer)
            assert response.status_code == 200
            return response.json

        return act

    def test_a_hidden_user_is_not_on_the_board_until_restored(
        self, client, get, post, make_user, act
    ):
        hidden, other = make_user(), make_user()
        post(hidden, 100)
        post(other, 1)

        act(f"users/{hidden.user_id}/hide")

        found = get("leaderboard")
        assert (column("user_id", found["entries"]), found["total"]) == ([other.user_id], 1)
        assert get(f"leaderboard/users/{other.user_id}")["entries"] == found["entries"]
        assert code(neighbours(client, hidden.user_id)) == (404, "not_ranked")

        act(f"users/{hidden.user_id}/restore")

        entries = get("leaderboard")["entries"]
        assert column("user_id", entries) == [hidden.user_id, other.user_id]

    def test_a_user_whose_only_score_is_voided_is_not_on_the_board(
        self, client, get, post, player, act
    ):
        receipt = post(player, 100)

        voided = act(f"scores/{receipt['score_id']}/void", reason="cheating")

        assert get("leaderboard")["total"] == 0
        assert code(neighbours(client, player.user_id)) == (404, "not_ranked")
        (score,) = past_scores(client, player).json["scores"]
        assert score["voided_at"] == voided["voided_at"]


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
            cursor("another key", "page", [5, "2026-01-01T00:00:00Z", UNKNOWN], 1, 1, ""),
            "cursor",
        ),
        ("leaderboard", cursor(SECRETS["SECRET_KEY"], "scores", 7), "cursor"),
        *((f"leaderboard/users/{UNKNOWN}", {"around": n}, "around") for n in ("-1", "51", "x")),
        ("leaderboard/users/me", {}, "user_id"),
        (f"users/{UNKNOWN}/scores", {"limit": "101"}, "limit"),
        (f"users/{UNKNOWN}/scores", {"cursor": "x"}, "cursor"),
        ("users/me/scores", {}, "user_id"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_an_invalid_parameter_is_named_in_the_error(client, scorer, path, query, field):
    response = client.get(f"/api/{path}", query_string=query, headers=scorer.bearer)

    assert code(response) == (400, "invalid_input")
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
        assert code(response) == (400, "invalid_input")


@hypothesis_settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(cursor=st.text() | st.from_regex(r"\A\.?[\w-]{0,20}\.[\w-]{27}\Z", fullmatch=True))
def test_any_other_text_as_a_cursor_is_refused(client, cursor):
    response = client.get("/api/leaderboard", query_string={"cursor": cursor})

    assert code(response) == (400, "invalid_input")


@pytest.mark.parametrize("settings", [{"PUBLIC_BOARD": "0"}])
@pytest.mark.parametrize("path", ["leaderboard", "leaderboard/users/{}"])
def test_a_private_board_requires_a_token(client, post, player, make_user, path):
    post(player, 1)
    url = f"/api/{path.format(player.user_id)}"
    watched = client.get(url, headers=make_user("viewer").bearer)

    refused = [
        client.get(url, headers=headers)
        for headers in (
            {},
            {"Authorization": "Bearer x"},
            {"If-None-Match": watched.headers["ETag"]},
        )
    ]

    assert watched.status_code == 200
    assert [code(response) for response in refused] == [
        (401, "token_missing"),
        (401, "token_invalid"),
        (401, "token_missing"),
    ]


def past_scores(client, person, owner=None, **query):
    url = f"/api/users/{(owner or person).user_id}/scores"
    return client.get(url, query_string=query, headers=person.bearer)


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

    def test_are_empty_without_an_update(self, client, player):
        assert past_scores(client, player).json == {"scores": [], "next": None}

    @pytest.mark.parametrize(
        ("role", "status"), [("scorer", 200), ("admin", 200), ("player", 401), ("viewer", 401)]
    )
    def test_of_another_user_require_a_permission(self, client, player, make_user, role, status):
        response = past_scores(client, make_user(role), player)

        assert code(response) == (status, "not_permitted" if status == 401 else None)

    def test_require_the_token_of_a_user(self, client, player):
        token = client.post("/api/auth/viewer").json["access_token"]
        url = f"/api/users/{player.user_id}/scores"

        responses = [client.get(url), client.get(url, headers={"Authorization": f"Bearer {token}"})]

        assert [code(r) for r in responses] == [(401, "token_missing"), (401, "not_permitted")]

    def test_of_an_unknown_user_are_not_found(self, client, scorer):
        response = client.get(f"/api/users/{UNKNOWN}/scores", headers=scorer.bearer)

        assert code(response) == (404, "unknown_user")


def test_a_running_server_serves_every_read(server):
    """On eventlet the reads run in threads."""
    users = [server.user(f"ranked-{number}") for number in range(3)]
    for score, person in enumerate(users):
        assert server.post(person.token, person.update(score)).status_code == 200

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
