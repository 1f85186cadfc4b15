"""Conditional requests: a client that has the current version gets 304 and no body."""

import uuid

import pytest
from sqlalchemy import event, update

from scoreboard.db import transactions
from scoreboard.extensions import db
from scoreboard.models import BoardVersion

ORIGIN = {"Origin": "https://elsewhere.example"}
PATHS = [
    "/api/score/top10",
    "/api/leaderboard",
    "/api/leaderboard?limit=1",
    "/api/leaderboard/users/{}",
    "/api/leaderboard/users/{}?around=0",
    "/api/users/{}/scores",
]
listed_origin = pytest.mark.parametrize("settings", [{"CORS_ORIGINS": ORIGIN["Origin"]}])


@pytest.fixture
def post(client):
    def post(user, score):
        body = user.update(score, nonce=uuid.uuid4().hex)
        assert client.post("/api/score/update", json=body, headers=user.bearer).status_code == 200

    return post


@pytest.fixture(params=PATHS)
def get(request, client, player, post):
    """Return a function that requests a path with these headers."""
    post(player, 1)
    url = request.param.format(player.user_id)
    return lambda headers=(): client.get(url, headers={**player.bearer, **dict(headers)})


@pytest.mark.parametrize("header", ["{0}", "W/{0}", '"x", W/"y", {0}', '{0},"z"', "*"])
def test_the_etag_is_strong_and_gets_304_without_a_body(get, header):
    etag = get().headers["ETag"]

    response = get({"If-None-Match": header.format(etag)})

    assert etag.startswith('"')
    assert (response.status_code, response.data) == (304, b"")
    assert response.headers["ETag"] == etag
    assert "Content-Type" not in response.headers
    assert "Content-Length" not in response.headers


@pytest.mark.parametrize("header", ['"x"', "x", "", '"', "W/", ",,,", "{0}x", "é", '"*"'])
def test_any_other_etag_gets_the_content(get, header):
    first = get()

    response = get({"If-None-Match": header.format(first.headers["ETag"][:-2])})

    assert (response.status_code, response.json) == (200, first.json)


def test_a_change_changes_the_etag(get, post, player):
    before = get()

    post(player, 2)

    after = get({"If-None-Match": before.headers["ETag"]})
    assert after.status_code == 200
    assert after.headers["ETag"] != before.headers["ETag"]
    assert after.json != before.json


def test_every_url_has_its_own_etag(client, post, make_user):
    users = [make_user() for _ in range(2)]
    for user in users:
        post(user, 1)
    urls = {path.format(user.user_id): user for user in users for path in PATHS}

    etags = {client.get(url, headers=user.bearer).headers["ETag"] for url, user in urls.items()}

    assert len(etags) == len(urls) == 9


@pytest.mark.parametrize("get", PATHS[1:], indirect=True)
def test_a_database_restored_to_the_same_version_has_other_etags(get):
    before = get().headers["ETag"]

    transactions.transaction(lambda c: c.execute(update(BoardVersion).values(version=0, stamp="x")))
    after = get({"If-None-Match": before})

    assert after.status_code == 200
    assert after.headers["ETag"] != before


def test_a_304_reads_only_the_version(get):
    statements = []

    def record(connection, cursor, statement, *rest):
        statements.append(statement)

    headers = {"If-None-Match": get().headers["ETag"]}
    event.listen(db.engine, "before_cursor_execute", record)
    get(headers)
    event.remove(db.engine, "before_cursor_execute", record)

    assert not [each for each in statements if "standings" in each or "FROM scores" in each]


def test_a_missing_resource_is_404_whatever_the_etag(client, player):
    url = f"/api/leaderboard/users/{player.user_id}"

    assert client.get(url, headers={"If-None-Match": "*"}).status_code == 404


@listed_origin
@pytest.mark.parametrize("headers", [{}, {"If-None-Match": "*"}], ids=["200", "304"])
def test_a_page_of_a_listed_origin_may_read_the_etag(get, headers):
    response = get({**ORIGIN, **headers})

    exposed = response.headers["Access-Control-Expose-Headers"]
    assert response.headers["Access-Control-Allow-Origin"] == ORIGIN["Origin"]
    assert "ETag" in exposed
    assert "Retry-After" in exposed


@listed_origin
def test_a_page_of_a_listed_origin_may_send_if_none_match(client):
    preflight = {
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "If-None-Match",
    }

    response = client.options("/api/leaderboard", headers={**ORIGIN, **preflight})

    assert "if-none-match" in response.headers["Access-Control-Allow-Headers"].lower()


def test_the_top_10_has_the_same_etag_on_the_fast_path_and_through_flask(client, player, post):
    post(player, 1)
    url = "/api/score/top10"

    etag = client.get(url).headers["ETag"]

    assert client.get(url, headers=ORIGIN).headers["ETag"] == etag
    for headers in ({}, ORIGIN):
        assert client.get(url, headers={**headers, "If-None-Match": etag}).status_code == 304
