"""Who has an answer already is told so, and not sent it again."""

import uuid

import pytest
from sqlalchemy import event, update

from scoreboard.db import transactions as database
from scoreboard.extensions import db
from scoreboard.models import BoardVersion

LONG_WAY = {"Origin": "https://elsewhere.example"}
PATHS = [
    "/api/score/top10",
    "/api/leaderboard",
    "/api/leaderboard?limit=1",
    "/api/leaderboard/users/{}",
    "/api/leaderboard/users/{}?around=0",
    "/api/users/{}/scores",
]


@pytest.fixture
def post(client):
    def post(person, score):
        body = person.update(score, nonce=uuid.uuid4().hex)
        assert client.post("/api/score/update", json=body, headers=person.bearer).status_code == 200

    return post


@pytest.fixture(params=PATHS)
def get(request, client, player, post):
    """Return a function that gets a board read, by the headers given."""
    post(player, 1)
    url = request.param.format(player.user_id)
    return lambda **headers: client.get(
        url, headers={**player.bearer, **{k.replace("_", "-"): v for k, v in headers.items()}}
    )


@pytest.mark.parametrize("given", ["{0}", "W/{0}", '"x", W/"y", {0}', '{0},"z"', "*"])
def test_what_the_client_has_is_not_sent_again(get, given):
    whole = get()
    etag = whole.headers["ETag"]

    answer = get(If_None_Match=given.format(etag))

    assert (answer.status_code, answer.data) == (304, b"")
    assert answer.headers["ETag"] == etag
    assert "Content-Type" not in answer.headers
    assert "Content-Length" not in answer.headers


@pytest.mark.parametrize("given", ['"x"', "x", "", '"', "W/", ",,,", "{0}x", "é", '"*"'])
def test_what_it_has_not_is_sent(get, given):
    whole = get()

    answer = get(If_None_Match=given.format(whole.headers["ETag"][:-2]))

    assert (answer.status_code, answer.json) == (200, whole.json)


def test_an_etag_is_strong_and_stays_while_nothing_changes(get):
    etags = {get().headers["ETag"] for _ in range(3)}

    assert len(etags) == 1
    assert etags.pop().startswith('"')


def test_a_change_makes_another_one(get, post, player):
    before = get()

    post(player, 2)

    after = get(If_None_Match=before.headers["ETag"])
    assert after.status_code == 200
    assert after.headers["ETag"] != before.headers["ETag"]
    assert after.json != before.json


def test_every_read_has_its_own(client, post, make_user):
    people = [make_user() for _ in range(2)]
    for person in people:
        post(person, 1)
    paths = {path.format(person.user_id) for path in PATHS for person in people}

    etags = {
        client.get(path, headers=person.bearer).headers.get("ETag")
        for path in paths
        for person in people
        if "/scores" not in path or person.user_id in path
    }

    assert len(etags) == len(paths)


def test_a_restored_database_has_others_at_the_same_version(get, monkeypatch):
    """Restored from a backup, the board comes to the same versions by other updates."""
    before = get().headers["ETag"]
    if "top10" in get().request.path:
        return  # its ETag is made of what it tells

    database.transaction(lambda c: c.execute(update(BoardVersion).values(version=0, stamp="x")))
    after = get(If_None_Match=before)

    assert (after.status_code, after.headers["ETag"] != before) == (200, True)


def test_nothing_but_the_version_is_read_for_it(get):
    etag = get().headers["ETag"]
    executed = []

    def note(connection, cursor, statement, *rest):
        executed.append(statement)

    event.listen(db.engine, "before_cursor_execute", note)
    get(If_None_Match=etag)
    event.remove(db.engine, "before_cursor_execute", note)

    tables = [table for table in ("standings", "FROM scores") if table in " ".join(executed)]
    assert tables == []


def test_a_missing_one_is_missing_whatever_the_client_has(client, player):
    url = f"/api/leaderboard/users/{player.user_id}"

    assert client.get(url, headers={"If-None-Match": "*"}).status_code == 404


@pytest.mark.parametrize("settings", [{"CORS_ORIGINS": LONG_WAY["Origin"]}])
def test_a_page_of_an_allowed_origin_may_read_the_etag(get):
    for answer in (get(**LONG_WAY), get(**LONG_WAY, If_None_Match="*")):
        assert answer.headers["Access-Control-Allow-Origin"] == LONG_WAY["Origin"]
        assert "ETag" in answer.headers["Access-Control-Expose-Headers"]
        assert "Retry-After" in answer.headers["Access-Control-Expose-Headers"]


@pytest.mark.parametrize("settings", [{"CORS_ORIGINS": LONG_WAY["Origin"]}])
def test_it_may_say_what_it_has(client):
    asked = {
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "If-None-Match",
    }

    answer = client.options("/api/leaderboard", headers={**LONG_WAY, **asked})

    assert "If-None-Match".lower() in answer.headers["Access-Control-Allow-Headers"].lower()


def test_the_top_10_has_the_same_etag_both_ways(client, player, post):
    post(player, 1)

    answers = [client.get("/api/score/top10", headers=way) for way in ({}, LONG_WAY)]

    assert answers[0].headers["ETag"] == answers[1].headers["ETag"]
    again = [
        client.get("/api/score/top10", headers={**way, "If-None-Match": answers[0].headers["ETag"]})
        for way in ({}, LONG_WAY)
    ]
    assert [answer.status_code for answer in again] == [304, 304]
