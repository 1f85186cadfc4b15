"""Bad input gets an error in the documented shape and changes nothing."""

import json
import math

import pytest
from sqlalchemy import func, select, text

from scoreboard.db import transactions
from scoreboard.models import RevokedToken, Score, Standing, User

USER_ID = "00000000-0000-4000-8000-000000000000"
UPDATE = "/api/score/update"
REGISTER = "/api/auth/register"
LOGIN = "/api/auth/login"
JOIN = "/api/auth/join"
RESET = "/api/auth/reset"
BODIES = {
    UPDATE: {"user_id": USER_ID, "score_value": 1, "timestamp": "2026-01-01T00:00:00Z"},
    REGISTER: {"username": "Ann", "email": "ann@example.com", "password": "correct horse"},
    LOGIN: {"username": "Ann", "password": "correct horse"},
    JOIN: {"username": "Ann"},
    RESET: {"token": "x" * 43, "new_password": "correct horse"},
}
NESTED = json.loads("[" * 500 + "]" * 500)
NOT_TEXT = [None, True, 7, 1.5, [], {}, ["x"], NESTED, "", "x" * 10_000, "\ud800" + "x" * 9]
BAD_VALUES = {
    (UPDATE, "user_id"): [*NOT_TEXT, "x", USER_ID + "0", f"{{{USER_ID}}}"],
    (UPDATE, "score_value"): [
        *[None, True, False, [], {}, NESTED, "", "7", "NaN", "x" * 10_000],
        *[math.nan, math.inf, -math.inf, 2**53, -(2**53), 1e300, 10**400],
    ],
    (UPDATE, "timestamp"): [
        *NOT_TEXT,
        *["yesterday", "2026-13-01", "2026-01-01T25:00:00Z", "1767225600", "٢٠٢٦-٠١-٠١"],
        *["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2100-01-01"],
        *["2026-01-01T00:00:00Z\x00", "2026-01-01,12:00:00Z", "2026-01-01T12,5:00Z"],
    ],
    (UPDATE, "nonce"): [
        *NOT_TEXT,
        *["short", "with space", "ünïcödé-ünïcödé", "line\nbreak", "abcdefgh\n"],
    ],
    (REGISTER, "username"): [
        *NOT_TEXT,
        *[" ", "An\x00n", "An\nn", "\u202eAnn", "\u3164", "ﷺ" * 60],
    ],
    (REGISTER, "email"): [
        *NOT_TEXT,
        *["ann", "ann@", "a\x00@example.com", "a@x\ud800.com"],
        "İ" * 200 + "@example.com",  # in lower case each is two characters
    ],
    (REGISTER, "password"): [*NOT_TEXT, "short"],
    (JOIN, "username"): [*NOT_TEXT, " ", "An\x00n", "\u202eAnn", "\u3164"],
    (JOIN, "join_code"): [each for each in NOT_TEXT if each != ""],
    (RESET, "token"): [*NOT_TEXT, "a\x00b"],
    (RESET, "new_password"): [*NOT_TEXT, "short"],
    (LOGIN, "username"): [*NOT_TEXT, " ", "An\x00n"],
    (LOGIN, "password"): NOT_TEXT,
}
NOT_JSON_OBJECTS = [
    *["", "{", "null", "true", "7", '"text"', "[]", "[{}]", "{'a': 1}", "[" * 60_000],
    *['{"a":' * 10_000, b"\xff\xfe", b"\x00", '{"a": 1}' + "x"],
]
TOO_LARGE = json.dumps({"padding": "x" * 70_000})
MANY_FIELDS = {str(number): number for number in range(4000)}


@pytest.fixture
def post(client, scorer):
    """Return a function that posts a body as a scorer."""

    def post(url, body):
        data = body if isinstance(body, str | bytes) else json.dumps(body)
        return client.post(url, data=data, headers=scorer.bearer)

    return post


@pytest.fixture(autouse=True)
def unchanged(scorer, player, subscriber):
    """Check that every test leaves all tables unchanged and sends no message."""

    def count_rows():
        tables = User, Score, Standing, RevokedToken
        counts = [select(func.count()).select_from(table) for table in tables]
        return transactions.read(lambda c: [c.execute(count).scalar() for count in counts])

    before = count_rows()
    yield
    assert count_rows() == before
    assert subscriber.messages() == []


@pytest.mark.parametrize(
    ("url", "field", "value"),
    [
        pytest.param(url, field, value, id=f"{url}-{field}-{str(value)[:20]!r}"[:60])
        for (url, field), values in BAD_VALUES.items()
        for value in values
    ],
)
def test_an_invalid_field_is_named(post, unexpected_errors, url, field, value):
    response = post(url, {**BODIES[url], field: value})

    error = response.json["error"]
    assert response.status_code == 400
    assert error.keys() == {"code", "message", "fields"}
    assert list(error["fields"]) == [field]
    assert all(isinstance(message, str) for message in error["fields"][field])
    assert unexpected_errors == []


@pytest.mark.parametrize(("url", "field"), [(url, f) for url, body in BODIES.items() for f in body])
def test_a_missing_field_is_named(post, url, field):
    response = post(url, {name: value for name, value in BODIES[url].items() if name != field})

    assert (response.status_code, list(response.json["error"]["fields"])) == (400, [field])


@pytest.mark.parametrize("url", BODIES)
@pytest.mark.parametrize(
    ("name", "named"),
    [("scoreValue", "scoreValue"), *((char * 9_000, char * 64) for char in "x\u00e9\ud800")],
    ids=["short", "long", "accents", "surrogates"],
)
def test_an_unknown_field_is_named_up_to_64_characters(post, url, name, named):
    response = post(url, {**BODIES[url], name: 1})

    assert (response.status_code, list(response.json["error"]["fields"])) == (400, [named])
    assert len(response.data) < 1_000


@pytest.mark.parametrize("url", BODIES)
def test_thousands_of_fields_get_one_short_error(post, url):
    response = post(url, {**BODIES[url], **MANY_FIELDS})

    assert (response.status_code, response.json["error"]["code"]) == (400, "invalid_input")
    assert len(response.data) < 200


def test_an_update_of_thousands_of_fields_in_a_batch_gets_one_short_error(post):
    response = post("/api/score/batch", {"updates": [{**BODIES[UPDATE], **MANY_FIELDS}]})

    assert response.json["results"][0]["body"]["error"]["code"] == "invalid_input"
    assert len(response.data) < 200


@pytest.mark.parametrize("url", BODIES)
@pytest.mark.parametrize("data", [*NOT_JSON_OBJECTS, TOO_LARGE], ids=lambda data: repr(data[:12]))
def test_a_body_that_is_not_a_json_object_of_at_most_64_kib_is_refused(post, url, data):
    response = post(url, data)

    assert (response.status_code, response.json["error"]["code"]) == (400, "invalid_json")


@pytest.mark.parametrize("url", ["/api/leaderboard", f"/api/users/{USER_ID}/scores"])
@pytest.mark.parametrize("query", ["limit=\x83", "limit=5\x83", "limit=%83"])
def test_a_query_that_is_not_utf8_is_refused(client, player, unexpected_errors, url, query):
    response = client.get(url, headers=player.bearer, environ_overrides={"QUERY_STRING": query})

    assert (response.status_code, response.json["error"]["code"]) == (400, "invalid_input")
    assert unexpected_errors == []


def test_a_query_parameter_whose_name_is_not_utf8_is_ignored(client, unexpected_errors):
    response = client.get("/api/leaderboard", environ_overrides={"QUERY_STRING": "\x83=1"})

    assert response.status_code == 200
    assert unexpected_errors == []


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
        ("PUT", "/api/auth/me", 405),
    ],
)
def test_a_wrong_path_or_method_has_the_error_shape(client, method, url, status):
    response = client.open(url, method=method)

    assert response.status_code == status
    assert response.json["error"].keys() == {"code", "message"}


def test_an_internal_error_shows_no_details(post, unexpected_errors, monkeypatch):
    monkeypatch.setattr(transactions, "transaction", lambda work, **options: 1 / 0)

    response = post(UPDATE, BODIES[UPDATE])

    assert response.status_code == 500
    assert response.json == {
        "error": {
            "code": "server_error",
            "message": "The server failed: send the same request again, it counts once.",
        }
    }
    assert [type(error) for error in unexpected_errors] == [ZeroDivisionError]


def test_a_failed_statement_is_logged_without_its_values(client, unexpected_errors, monkeypatch):
    secret, transaction = "scrypt:32768", transactions.transaction
    statement = text("SELECT * FROM nothing WHERE hash = :hash")
    monkeypatch.setattr(
        transactions,
        "transaction",
        lambda work: transaction(lambda c: c.execute(statement, {"hash": secret})),
    )

    response = client.post(REGISTER, json=BODIES[REGISTER])

    assert response.status_code == 500
    assert "FROM nothing" in str(unexpected_errors[0])
    assert secret not in str(unexpected_errors[0])
