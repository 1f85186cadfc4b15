"""Bad input gets a clear error in the one shape, and changes nothing."""

import json
import math

import pytest
from sqlalchemy import func, select, text

from scoreboard.db import transactions as database
from scoreboard.models import RevokedToken, Score, Standing, User

USER_ID = "00000000-0000-4000-8000-000000000000"
UPDATE = {"user_id": USER_ID, "score_value": 1, "timestamp": "2026-01-01T00:00:00Z"}
REGISTER = {"username": "Ann", "email": "ann@example.com", "password": "correct horse"}
LOGIN = {"username": "Ann", "password": "correct horse"}

DEEP = json.loads("[" * 500 + "]" * 500)
NOT_TEXT = [None, True, 7, 1.5, [], {}, ["x"], DEEP]
ODD_ADDRESSES = [
    *["ann", "ann@", "a\x00@example.com", "a@x\ud800.com"],
    "İ" * 200 + "@example.com",  # in lower case each is two characters
]
NEVER_TEXT = [*NOT_TEXT, "", "x" * 10_000, "\ud800" + "x" * 9]

FIELDS = [
    ("/api/score/update", UPDATE, "user_id", [*NEVER_TEXT, "x", USER_ID + "0", f"{{{USER_ID}}}"]),
    (
        "/api/score/update",
        UPDATE,
        "score_value",
        [
            *[None, True, False, [], {}, DEEP, "", "7", "NaN", "x" * 10_000],
            *[math.nan, math.inf, -math.inf, 2**53, -(2**53), 1e300, 10**400],
        ],
    ),
    (
        "/api/score/update",
        UPDATE,
        "timestamp",
        [
            *NEVER_TEXT,
            *["yesterday", "2026-13-01", "2026-01-01T25:00:00Z", "1767225600", "٢٠٢٦-٠١-٠١"],
            *["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2100-01-01"],
            *["2026-01-01T00:00:00Z\x00", "2026-01-01,12:00:00Z", "2026-01-01T12,5:00Z"],
        ],
    ),
    (
        "/api/score/update",
        UPDATE,
        "nonce",
        [*NEVER_TEXT, "short", "with space", "ünïcödé-ünïcödé", "line\nbreak", "abcdefgh\n"],
    ),
    (
        "/api/auth/register",
        REGISTER,
        "username",
        [*NEVER_TEXT, " ", "An\x00n", "An\nn", "\u202eAnn", "\u3164", "ﷺ" * 60],
    ),
    ("/api/auth/register", REGISTER, "email", [*NEVER_TEXT, *ODD_ADDRESSES]),
    ("/api/auth/register", REGISTER, "password", [*NEVER_TEXT, "short"]),
    ("/api/auth/login", LOGIN, "username", [*NEVER_TEXT, " ", "An\x00n"]),
    ("/api/auth/login", LOGIN, "password", NEVER_TEXT),
]
CASES = [
    pytest.param(url, body, field, bad, id=f"{url}-{field}-{str(bad)[:20]!r}"[:60])
    for url, body, field, values in FIELDS
    for bad in values
]
ENDPOINTS = {url: body for url, body, *_ in FIELDS}


@pytest.fixture
def changed(app):
    """Return a function that tells whether anything in the database is not as it was."""

    def rows():
        statement = [
            select(func.count()).select_from(t) for t in (User, Score, Standing, RevokedToken)
        ]
        return database.read(lambda c: [c.execute(count).scalar() for count in statement])

    before = rows()
    return lambda: rows() != before


def post(client, scorer, url, data):
    if not isinstance(data, str | bytes):
        data = json.dumps(data)
    return client.post(url, data=data, headers=scorer.bearer)


@pytest.mark.parametrize(("url", "body", "field", "bad"), CASES)
def test_a_bad_field_is_named(client, scorer, changed, watcher, unforeseen, url, body, field, bad):
    answer = post(client, scorer, url, {**body, field: bad})

    assert answer.status_code == 400
    assert answer.json.keys() == {"error"}
    assert answer.json["error"].keys() == {"code", "message", "fields"}
    assert list(answer.json["error"]["fields"]) == [field]
    assert all(isinstance(told, str) for told in answer.json["error"]["fields"][field])
    assert not changed()
    assert watcher.messages() == []
    assert unforeseen == []


@pytest.mark.parametrize(
    ("url", "field"), [(url, field) for url, body in ENDPOINTS.items() for field in body]
)
def test_a_missing_field_is_named(client, scorer, url, field):
    body = {name: value for name, value in ENDPOINTS[url].items() if name != field}

    answer = post(client, scorer, url, body)

    assert (answer.status_code, list(answer.json["error"]["fields"])) == (400, [field])


@pytest.mark.parametrize("url", ENDPOINTS)
def test_an_unknown_field_is_named(client, scorer, changed, url):
    answer = post(client, scorer, url, {**ENDPOINTS[url], "scoreValue": 1})

    assert (answer.status_code, list(answer.json["error"]["fields"])) == (400, ["scoreValue"])
    assert not changed()


@pytest.mark.parametrize("url", ENDPOINTS)
def test_thousands_of_fields_get_one_short_answer(client, scorer, changed, url):
    answer = post(client, scorer, url, {**ENDPOINTS[url], **{str(n): n for n in range(4000)}})

    assert (answer.status_code, answer.json["error"]["code"]) == (400, "invalid_input")
    assert len(answer.data) < 200
    assert not changed()


def test_so_does_an_update_of_thousands_of_fields_in_a_batch(client, scorer, changed):
    update = {**UPDATE, **{str(n): n for n in range(4000)}}

    answer = post(client, scorer, "/api/score/batch", {"updates": [update]})

    assert answer.json["results"][0]["body"]["error"]["code"] == "invalid_input"
    assert len(answer.data) < 200
    assert not changed()


@pytest.mark.parametrize("url", ["/api/leaderboard", f"/api/users/{USER_ID}/scores"])
@pytest.mark.parametrize("query", ["limit=\x83", "limit=5\x83", "limit=%83"])
def test_a_query_that_is_not_utf8_is_refused(client, player, unforeseen, url, query):
    answer = client.get(url, headers=player.bearer, environ_overrides={"QUERY_STRING": query})

    assert (answer.status_code, answer.json["error"]["code"]) == (400, "invalid_input")
    assert unforeseen == []


def test_a_parameter_whose_name_is_not_utf8_is_ignored(client, unforeseen):
    answer = client.get("/api/leaderboard", environ_overrides={"QUERY_STRING": "\x83=1"})

    assert answer.status_code == 200
    assert unforeseen == []


@pytest.mark.parametrize("url", ENDPOINTS)
@pytest.mark.parametrize(
    "data",
    [
        *["", "{", "null", "true", "7", '"text"', "[]", "[{}]", "{'a': 1}", "[" * 60_000],
        *['{"a":' * 10_000, b"\xff\xfe", b"\x00", '{"a": 1}' + "x"],
    ],
    ids=lambda data: repr(data[:12]),
)
def test_what_is_no_json_object_is_refused(client, scorer, changed, url, data):
    answer = post(client, scorer, url, data)

    assert (answer.status_code, answer.json["error"]["code"]) == (400, "invalid_json")
    assert not changed()


@pytest.mark.parametrize("url", ENDPOINTS)
def test_too_large_a_body_is_refused(client, scorer, changed, url):
    answer = post(client, scorer, url, {**ENDPOINTS[url], "padding": "x" * 70_000})

    assert (answer.status_code, answer.json["error"]["code"]) == (400, "invalid_json")
    assert not changed()


@pytest.mark.parametrize("url", ENDPOINTS)
@pytest.mark.parametrize("letter", ["x", "\u00e9", "\ud800"], ids=["x", "accent", "surrogate"])
def test_of_a_long_name_no_more_is_told_than_of_any(client, scorer, url, letter):
    answer = post(client, scorer, url, {**ENDPOINTS[url], letter * 9_000: 1})

    assert (answer.status_code, list(answer.json["error"]["fields"])) == (400, [letter * 64])
    assert len(answer.data) < 1_000


@pytest.mark.parametrize(
    ("method", "url", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/api/nothing", 404),
        ("GET", "/api/score/update", 405),
        ("PUT", "/api/score/update", 405),
        ("DELETE", "/api/score/top10", 405),
        ("POST", "/api/score/top10", 405),
        ("GET", "/api/auth/login", 405),
        ("PATCH", "/api/auth/me", 405),
    ],
)
def test_a_wrong_path_or_method_answers_in_the_same_shape(client, method, url, status):
    answer = client.open(url, method=method)

    assert answer.status_code == status
    assert answer.json["error"].keys() == {"code", "message"}


def test_an_error_of_ours_tells_the_client_nothing(client, scorer, unforeseen, monkeypatch):
    monkeypatch.setattr("scoreboard.db.transactions.transaction", lambda work, **options: 1 / 0)

    answer = post(client, scorer, "/api/score/update", UPDATE)

    assert answer.status_code == 500
    assert answer.json == {
        "error": {
            "code": "server_error",
            "message": "The server failed: send the same request again, it counts once.",
        }
    }
    assert [type(error) for error in unforeseen] == [ZeroDivisionError]


def test_a_statement_that_fails_is_logged_without_its_values(client, unforeseen, monkeypatch):
    def fail(work):
        return transaction(
            lambda c: c.execute(text("SELECT * FROM nothing WHERE hash = :hash"), {"hash": secret})
        )

    secret, transaction = "scrypt:32768", database.transaction
    monkeypatch.setattr(database, "transaction", fail)

    answer = client.post("/api/auth/register", json=REGISTER)

    assert answer.status_code == 500
    assert "FROM nothing" in str(unforeseen[0])
    assert secret not in str(unforeseen[0])
