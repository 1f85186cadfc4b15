"""The leaderboard over HTTP: what leaderboards are known to do, and who may see what of it."""

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
from tests.support.tokens import mint

NOBODY = "00000000-0000-4000-8000-999999999999"


@pytest.fixture
def ranked(app):
    """Return a function that ranks the first players with these scores; one minute apart."""
    standings.create_users(80)

    def rank(scores):
        standings.put([(score, minute % 60, False) for minute, score in enumerate(scores)])

    return rank


@pytest.fixture
def post(client):
    """Return a function that updates a person's score."""

    def post(person, score):
        update = person.update(score, nonce=uuid.uuid4().hex)
        answer = client.post("/api/score/update", json=update, headers=person.bearer)
        assert answer.status_code == 200
        return answer.json

    return post


@pytest.fixture
def get(client):
    """Return a function that gets what is told at a path below /api."""

    def get(path, **query):
        answer = client.get(f"/api/{path}", query_string=query)
        assert answer.status_code == 200, answer.json
        return answer.json

    return get


def ranks(entries):
    return [entry["rank"] for entry in entries]


def positions(entries):
    return [entry["position"] for entry in entries]


def test_an_empty_board_has_an_empty_page(get):
    assert get("leaderboard") == {"entries": [], "total": 0, "next": None}


def test_an_entry_tells_who_and_since_when(get, post, make_user):
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


def test_leaders_come_highest_first(get, ranked):
    ranked(range(1, 26))

    told = get("leaderboard")

    assert [entry["score"] for entry in told["entries"]] == list(range(25, 0, -1))
    assert ranks(told["entries"]) == positions(told["entries"]) == list(range(1, 26))
    assert (told["total"], told["next"]) == (25, None)


@pytest.mark.parametrize(("limit", "sizes"), [(25, [25, 25, 25, 1]), (38, [38, 38]), (76, [76])])
def test_pages_are_full_but_for_the_last(get, ranked, limit, sizes):
    ranked(range(76))

    pages = [get("leaderboard", limit=limit)]
    while pages[-1]["next"]:
        pages.append(get("leaderboard", limit=limit, cursor=pages[-1]["next"]))

    assert [len(page["entries"]) for page in pages] == sizes
    assert {page["total"] for page in pages} == {76}
    assert positions([entry for page in pages for entry in page["entries"]]) == [*range(1, 77)]


def test_a_page_has_fifty_entries_if_nobody_says_how_many(get, ranked):
    ranked(range(76))

    assert len(get("leaderboard")["entries"]) == 50


def test_a_page_beyond_the_end_is_empty(get, ranked):
    ranked([3, 2, 1])
    cursor = get("leaderboard", limit=2)["next"]

    ranked([3, 2])

    told = get("leaderboard", limit=2, cursor=cursor)
    assert told == {"entries": [], "total": 2, "next": None}


def test_those_with_the_same_score_share_a_rank(get, ranked):
    ranked([50, 50, 30, 30, 10])

    entries = get("leaderboard")["entries"]

    assert ranks(entries) == [1, 1, 3, 3, 5]
    assert positions(entries) == [1, 2, 3, 4, 5]


def test_a_shared_rank_goes_on_over_pages(get, ranked):
    ranked([50, 50, 50, 50, 30, 30, 30, 30, 10, 10])

    first = get("leaderboard", limit=3)
    second = get("leaderboard", limit=3, cursor=first["next"])

    assert ranks(first["entries"]) == [1, 1, 1]
    assert ranks(second["entries"]) == [1, 5, 5]
    assert positions(second["entries"]) == [4, 5, 6]


def test_of_equal_scores_whoever_reached_it_first_comes_first(get, post, make_user):
    early, late = make_user(), make_user()
    post(late, 1)
    post(early, 5)
    post(late, 5)

    assert [entry["user_id"] for entry in get("leaderboard")["entries"]] == [
        early.user_id,
        late.user_id,
    ]


@pytest.mark.parametrize(
    ("number", "around"),
    [
        (29, range(42, 53)),  # in the middle: five on either side
        (75, range(1, 7)),  # at the top
        (73, range(1, 9)),
        (0, range(71, 77)),  # at the bottom
        (2, range(69, 77)),
    ],
)
def test_around_me_is_cut_off_at_the_ends(get, ranked, number, around):
    ranked(range(76))

    told = get(f"leaderboard/users/{standings.user_id(number)}")

    assert positions(told["entries"]) == list(around)
    assert told["entry"] in told["entries"]
    assert told["entry"]["position"] == 76 - number
    assert told["total"] == 76


def test_around_me_can_be_me_alone(get, ranked):
    ranked([3, 2, 1])

    told = get(f"leaderboard/users/{standings.user_id(1)}", around=0)

    assert told["entries"] == [told["entry"]]
    assert told["entry"]["rank"] == 2


def test_around_me_ties_share_their_ranks_too(get, ranked):
    ranked([50, 50, 50, 50, 30, 30, 30, 30, 10, 10])

    told = get(f"leaderboard/users/{standings.user_id(5)}", around=3)

    assert positions(told["entries"]) == [3, 4, 5, 6, 7, 8, 9]
    assert ranks(told["entries"]) == [1, 1, 5, 5, 5, 5, 9]


def test_an_update_moves_a_user_and_those_it_passes(get, post, make_user):
    first, second = make_user(), make_user()
    post(first, 10)
    post(second, 5)

    post(second, 20)

    assert [(e["user_id"], e["rank"]) for e in get("leaderboard")["entries"]] == [
        (second.user_id, 1),
        (first.user_id, 2),
    ]
    assert get(f"leaderboard/users/{first.user_id}")["entry"]["rank"] == 2


def test_a_next_page_is_of_the_board_as_it_is_by_then(get, post, make_user):
    players = [make_user() for _ in range(4)]
    for player, score in zip(players, [40, 30, 20, 10], strict=True):
        post(player, score)
    cursor = get("leaderboard", limit=2)["next"]

    post(players[3], 50)

    (entry,) = get("leaderboard", limit=2, cursor=cursor)["entries"]
    assert (entry["user_id"], entry["rank"]) == (players[2].user_id, 4)


def test_a_hidden_member_is_gone_from_everything_until_it_is_restored(client, get, post, make_user):
    admin, cheat, honest = make_user("admin"), make_user(), make_user()
    post(cheat, 100)
    post(honest, 1)

    client.post(f"/api/admin/users/{cheat.user_id}/hide", headers=admin.bearer)

    told = get("leaderboard")
    assert [(e["user_id"], e["rank"]) for e in told["entries"]] == [(honest.user_id, 1)]
    assert told["total"] == 1
    assert get(f"leaderboard/users/{honest.user_id}")["entries"] == told["entries"]
    assert not_found(client, cheat.user_id) == "not_ranked"

    client.post(f"/api/admin/users/{cheat.user_id}/restore", headers=admin.bearer)

    assert ranks(get("leaderboard")["entries"]) == [1, 2]
    assert get(f"leaderboard/users/{cheat.user_id}")["entry"]["rank"] == 1


def test_a_member_whose_only_score_is_voided_is_gone(client, get, post, make_user):
    admin, cheat, honest = make_user("admin"), make_user(), make_user()
    receipt = post(cheat, 100)
    post(honest, 1)

    path = f"/api/admin/scores/{receipt['score_id']}/void"
    client.post(path, json={"reason": "cheating"}, headers=admin.bearer)

    told = get("leaderboard")
    assert (positions(told["entries"]), told["total"]) == ([1], 1)
    assert not_found(client, cheat.user_id) == "not_ranked"


def test_a_removed_member_is_gone_and_a_page_after_it_goes_on(client, get, ranked):
    ranked([5, 4, 3, 2, 1])
    cursor = get("leaderboard", limit=2)["next"]

    standings.put([(5, 0, False), (4, 1, True), (3, 2, False)])  # the last two are removed

    told = get("leaderboard", limit=2, cursor=cursor)
    assert [(e["score"], e["position"]) for e in told["entries"]] == [(3, 2)]
    assert told["total"] == 2
    assert not_found(client, standings.user_id(4)) == "not_ranked"


def not_found(client, user_id):
    answer = client.get(f"/api/leaderboard/users/{user_id}")
    assert answer.status_code == 404
    return answer.json["error"]["code"]


def test_a_member_without_a_score_is_not_ranked(client, player):
    assert not_found(client, player.user_id) == "not_ranked"


def test_nobody_is_an_unknown_user(client):
    assert not_found(client, NOBODY) == "unknown_user"


def test_a_user_id_is_taken_in_either_case(get, post, player):
    post(player, 1)

    assert get(f"leaderboard/users/{player.user_id.upper()}")["entry"]["rank"] == 1


def forged(*content):
    return URLSafeSerializer("not our key", "page").dumps(content)


def other_kind():
    return URLSafeSerializer(SECRETS["SECRET_KEY"], "scores").dumps(7)


@pytest.mark.parametrize(
    ("path", "query", "field"),
    [
        ("leaderboard", {"limit": "0"}, "limit"),
        ("leaderboard", {"limit": "101"}, "limit"),
        ("leaderboard", {"limit": "-5"}, "limit"),
        ("leaderboard", {"limit": "many"}, "limit"),
        ("leaderboard", {"limit": "1.5"}, "limit"),
        ("leaderboard", {"limit": "1_0"}, "limit"),
        ("leaderboard", {"limit": " 10"}, "limit"),
        ("leaderboard", {"limit": "１０"}, "limit"),
        ("leaderboard", {"limit": ""}, "limit"),
        ("leaderboard", {"limit": "9" * 5000}, "limit"),
        ("leaderboard", {"cursor": ""}, "cursor"),
        ("leaderboard", {"cursor": "x"}, "cursor"),
        ("leaderboard", {"cursor": "\x00é💥"}, "cursor"),
        (
            "leaderboard",
            {"cursor": forged([5, "2026-01-01T00:00:00Z", NOBODY], 1, 1, "")},
            "cursor",
        ),
        ("leaderboard", {"cursor": other_kind()}, "cursor"),
        (f"leaderboard/users/{NOBODY}", {"around": "-1"}, "around"),
        (f"leaderboard/users/{NOBODY}", {"around": "51"}, "around"),
        (f"leaderboard/users/{NOBODY}", {"around": "x"}, "around"),
        ("leaderboard/users/me", {}, "user_id"),
        (f"users/{NOBODY}/scores", {"limit": "101"}, "limit"),
        (f"users/{NOBODY}/scores", {"cursor": "x"}, "cursor"),
        ("users/me/scores", {}, "user_id"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_wrong_parameters_are_named(client, scorer, path, query, field):
    answer = client.get(f"/api/{path}", query_string=query, headers=scorer.bearer)

    assert (answer.status_code, answer.json["error"]["code"]) == (400, "invalid_input")
    assert list(answer.json["error"]["fields"]) == [field]


@pytest.mark.parametrize("extra", ["_=1441835249458", "fbclid=a&utm_source=b", "page=2"])
@pytest.mark.parametrize(
    "path", ["score/top10", "leaderboard", "leaderboard/users/{}", "users/{}/scores"]
)
def test_unknown_parameters_are_ignored(client, player, path, extra):
    update = player.update(5)
    assert client.post("/api/score/update", json=update, headers=player.bearer).status_code == 200
    url = f"/api/{path.format(player.user_id)}"
    plain = client.get(url, headers=player.bearer)

    answer = client.get(f"{url}?{extra}", headers=player.bearer)

    assert (answer.status_code, answer.json) == (200, plain.json)


def test_any_number_of_unknown_parameters_is_ignored(client):
    extra = {f"utm_{number}": "x" for number in range(100)}

    answer = client.get("/api/leaderboard", query_string={**extra, "limit": "1"})

    assert answer.status_code == 200


def test_a_cursor_that_was_tampered_with_is_refused(client, ranked):
    ranked([3, 2, 1])
    cursor = client.get("/api/leaderboard?limit=1").json["next"]

    # Of the last letter some bits say nothing.
    for place in range(len(cursor) - 1):
        letter = "A" if cursor[place] != "A" else "B"
        tampered = cursor[:place] + letter + cursor[place + 1 :]
        answer = client.get("/api/leaderboard", query_string={"cursor": tampered})
        assert (answer.status_code, answer.json["error"]["code"]) == (400, "invalid_input")


@hypothesis_settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(cursor=st.text() | st.from_regex(r"\A\.?[\w-]{0,20}\.[\w-]{27}\Z", fullmatch=True))
def test_whatever_else_comes_as_a_cursor_is_refused(client, cursor):
    answer = client.get("/api/leaderboard", query_string={"cursor": cursor})

    assert (answer.status_code, answer.json["error"]["code"]) == (400, "invalid_input")


def test_a_cursor_is_text_for_a_url(client, ranked):
    ranked([2**53 - 1, 1.5])

    cursor = client.get("/api/leaderboard?limit=1").json["next"]

    entries = client.get(f"/api/leaderboard?cursor={cursor}").json["entries"]
    assert [(e["score"], e["rank"]) for e in entries] == [(1.5, 2)]


@pytest.mark.parametrize("settings", [{"PUBLIC_BOARD": "0"}])
@pytest.mark.parametrize("path", ["leaderboard", "leaderboard/users/{}"])
def test_a_board_that_is_not_public_asks_for_a_token(client, post, player, make_user, path):
    post(player, 1)
    url = f"/api/{path.format(player.user_id)}"

    refused = client.get(url), client.get(url, headers={"Authorization": "Bearer x"})
    seen = client.get(url, headers=make_user("viewer").bearer)

    codes = [(answer.status_code, answer.json["error"]["code"]) for answer in refused]
    assert codes == [(401, "token_missing"), (401, "token_invalid")]
    assert seen.status_code == 200


@pytest.mark.parametrize("settings", [{"PUBLIC_BOARD": "0"}])
def test_an_etag_opens_nothing(client, player):
    etag = client.get("/api/leaderboard", headers=player.bearer).headers["ETag"]

    answer = client.get("/api/leaderboard", headers={"If-None-Match": etag})

    assert answer.status_code == 401


def history(client, person, whose=None, **query):
    url = f"/api/users/{(whose or person).user_id}/scores"
    return client.get(url, query_string=query, headers=person.bearer)


def test_a_player_sees_the_own_scores_newest_first(client, post, player):
    receipts = [post(player, score) for score in (3, 1.5, 2)]

    told = history(client, player).json

    assert [score["score_id"] for score in told["scores"]] == [
        receipt["score_id"] for receipt in reversed(receipts)
    ]
    assert told["scores"][1] == {
        "score_id": receipts[1]["score_id"],
        "score_value": 1.5,
        "timestamp": "2026-01-01T00:00:00Z",
        "created_at": receipts[1]["created_at"],
        "score": 1.5,
        "applied": True,
        "voided_at": None,
    }
    assert told["next"] is None


def test_an_update_that_was_late_is_told_as_not_applied(client, post, player):
    post(player, 3)
    late = player.update(1, timestamp="2025-12-31T00:00:00Z")
    client.post("/api/score/update", json=late, headers=player.bearer)

    newest = history(client, player).json["scores"][0]

    assert (newest["score_value"], newest["score"], newest["applied"]) == (1, 3, False)


def test_a_voided_score_stays_and_says_so(client, post, player, make_user):
    receipt = post(player, 3)
    path = f"/api/admin/scores/{receipt['score_id']}/void"
    voided = client.post(path, json={"reason": "wrong"}, headers=make_user("admin").bearer)

    (score,) = history(client, player).json["scores"]

    assert score["voided_at"] == voided.json["voided_at"]


def test_the_scores_come_in_pages(client, post, player, make_user):
    for score in range(7):
        post(player, score)
        post(make_user(), 1)

    found, cursor = [], {}
    while cursor is not None:
        told = history(client, player, limit=3, **cursor).json
        found.append([score["score_value"] for score in told["scores"]])
        cursor = {"cursor": told["next"]} if told["next"] else None

    assert found == [[6, 5, 4], [3, 2, 1], [0]]


def test_a_player_without_scores_has_an_empty_history(client, player):
    assert history(client, player).json == {"scores": [], "next": None}


@pytest.mark.parametrize("role", ["scorer", "admin"])
def test_a_scorer_and_an_admin_see_anyones_scores(client, post, player, make_user, role):
    post(player, 3)

    assert len(history(client, make_user(role), player).json["scores"]) == 1


@pytest.mark.parametrize("role", ["player", "viewer"])
def test_others_do_not(client, post, player, make_user, role):
    post(player, 3)

    answer = history(client, make_user(role), player)

    assert (answer.status_code, answer.json["error"]["code"]) == (401, "not_permitted")


def test_nor_does_whoever_merely_watches(client, app, player):
    token = client.post("/api/auth/viewer").json["access_token"]
    url = f"/api/users/{player.user_id}/scores"

    answers = [client.get(url), client.get(url, headers={"Authorization": f"Bearer {token}"})]

    codes = [(answer.status_code, answer.json["error"]["code"]) for answer in answers]
    assert codes == [(401, "token_missing"), (401, "not_permitted")]


def test_the_scores_of_nobody_are_an_unknown_users(client, scorer):
    answer = client.get(
        f"/api/users/{NOBODY}/scores", headers={"Authorization": f"Bearer {mint(scorer.user_id)}"}
    )

    assert (answer.status_code, answer.json["error"]["code"]) == (404, "unknown_user")


def test_a_real_server_shows_it_all(server):
    """Every way to run one: with eventlet the reads are made in threads of their own."""
    people = [server.user(f"ranked-{number}") for number in range(3)]
    for score, person in enumerate(people):
        assert server.post(person.token, person.update(score)).status_code == 200

    first = requests.get(f"{server.url}/api/leaderboard?limit=2", timeout=10)
    second = requests.get(
        f"{server.url}/api/leaderboard", {"cursor": first.json()["next"]}, timeout=10
    )
    mine = requests.get(f"{server.url}/api/leaderboard/users/{people[0].user_id}", timeout=10)
    scores = requests.get(
        f"{server.url}/api/users/{people[0].user_id}/scores", headers=people[0].bearer, timeout=10
    )
    again = requests.get(first.url, headers={"If-None-Match": first.headers["ETag"]}, timeout=10)

    listed = first.json()["entries"] + second.json()["entries"]
    assert [entry["username"] for entry in listed] == ["ranked-2", "ranked-1", "ranked-0"]
    assert mine.json() == {"entry": listed[2], "entries": listed, "total": 3}
    assert [score["score"] for score in scores.json()["scores"]] == [0]
    assert (again.status_code, again.content) == (304, b"")
