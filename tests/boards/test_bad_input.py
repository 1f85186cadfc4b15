"""Bad input of boards gets an error that names the field, and changes nothing."""

import json
import math

import pytest
from sqlalchemy import select

from scoreboard.db import transactions
from scoreboard.models import Board, BoardVersion, Score, Season, Standing
from tests.support.local_subscribers import LocalSubscriber

USER_ID = "00000000-0000-4000-8000-000000000000"
TIMESTAMP = "2026-01-01T00:00:00Z"
UPDATE = {"user_id": USER_ID, "score_value": 1, "timestamp": TIMESTAMP}
NEW = {"board_id": "new", "title": "New"}
RESET = {"every": "week", "on": "monday", "at": "06:00", "time_zone": "Europe/Vienna"}
NESTED = json.loads("[" * 500 + "]" * 500)
OTHERS = [True, 7, 1.5, [], {}, ["x"], NESTED, "", "x" * 10_000, "\ud800" + "x" * 9, "a\x00b"]
NOT_TEXT = [None, *OTHERS]
NOT_A_CHOICE = [*NOT_TEXT, "other", "BEST", " best"]
NOT_A_NUMBER = [
    *[True, False, [], {}, NESTED, "", "7", "NaN", "x" * 10_000],
    *[math.nan, math.inf, -math.inf, 2**53, -(2**53), 1e300, 10**400],
]
NOT_A_TIME = [
    *OTHERS,
    *["yesterday", "2026-13-01", "2026-01-01T25:00:00Z", "1767225600", "٢٠٢٦-٠١-٠١"],
    *["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", TIMESTAMP + "\x00"],
]
NOT_A_BOARD = [*OTHERS, "UPPER", "with space", "under_score", "x" * 33, "é", "a\n", "٣"]
NOT_A_RESET = [
    *[True, 7, 1.5, [], {}, ["x"], NESTED, "", "week", "x" * 10_000],
    {**RESET, "extra": 1},
    *({name: RESET[name] for name in RESET if name != missing} for missing in RESET),
    *({**RESET, "every": value} for value in [*NOT_TEXT, "year", "hour", "Week", "day", "month"]),
    *({**RESET, "on": value} for value in [*NOT_TEXT, "Monday", "mon", 1]),
    *({**RESET, "every": "month", "on": value} for value in [*NOT_TEXT[:2], 0, 29, -1, 1.5, "1"]),
    *({**RESET, "at": value} for value in [*NOT_TEXT, "6:00", "24:00", "06:60", "06:00:00"]),
    *({**RESET, "at": value} for value in ["06:00\n", " 06:00", "٠٦:٠٠", "0600"]),
    *({**RESET, "time_zone": value} for value in [*NOT_TEXT, "Vienna", "+01:00", "../UTC"]),
    *({**RESET, "time_zone": value} for value in ["/etc/localtime", "europe/vienna", "localtime"]),
]
NOT_TICKETS = [
    *[True, 7, 1.5, [], {}, ["x"], NESTED, "", "20", {"min_seconds": 20, "extra": 1}],
    *({"min_seconds": value} for value in [*NOT_TEXT[:2], -1, 3601, 1.5, "20", 10**400, NESTED]),
]
BAD_FIELDS = {
    "title": [
        *[*NOT_TEXT[:8], "", " ", "x" * 65, "two\nlines", "a\x00b", "\ud800"],
        *["\u202ex", "\u200b", "\u0301"],
    ],
    "policy": NOT_A_CHOICE,
    "order": NOT_A_CHOICE,
    "format": NOT_A_CHOICE,
    "min_score": NOT_A_NUMBER,
    "max_score": NOT_A_NUMBER,
    "submit": NOT_A_CHOICE,
    "public": [None, 0, 1, "", "true", "false", [], {}, NESTED, 1.5],
    "opens_at": NOT_A_TIME,
    "closes_at": NOT_A_TIME,
    "freezes_at": NOT_A_TIME,
    "reset": NOT_A_RESET,
    "tickets": NOT_TICKETS,
}
BAD_NEW = {
    **BAD_FIELDS,
    "board_id": [None, *NOT_A_BOARD],
    "source": [*NOT_A_BOARD, "nothing", "derived"],
}
BAD_PLACES = [None, True, 0, -1, 1.5, 1.0, 1001, 10**400, "1", "ALL", "", [], {}, NESTED]
BAD_UPDATES = {
    "board": [None, *NOT_A_BOARD, "nothing", "derived"],
    "season": [None, True, 0, -1, 1.5, 1.0, 2**31, 10**400, "1", "x", "", [], {}, NESTED, 2],
}
UNKNOWN_BOARD_PATHS = [
    *(("PATCH", ""), ("DELETE", "")),
    *(("POST", f"/{action}") for action in ("seasons", "freeze", "unfreeze", "reveal")),
]
NOT_JSON_OBJECTS = ["", "{", "null", "7", '"text"', "[]", "[" * 60_000, b"\xff\xfe", b"\x00"]
CREATE, CHANGE = ("POST", "/api/admin/boards"), ("PATCH", "/api/admin/boards/run")
REVEAL = ("POST", "/api/admin/boards/run/reveal")


@pytest.fixture
def send(client, admin):
    """Return a function that sends a body as an admin."""

    def send(endpoint, body):
        method, url = endpoint
        data = body if isinstance(body, str | bytes) else json.dumps(body)
        return client.open(url, method=method, data=data, headers=admin.bearer)

    return send


@pytest.fixture(autouse=True)
def unchanged(app, make_board, player):
    """Check that every test leaves all tables unchanged and sends no message."""
    make_board("run", max_score=100)
    make_board("derived", source="run")

    def rows():
        tables = [each.__table__ for each in (Board, Season, BoardVersion, Score, Standing)]
        return transactions.read(lambda c: [c.execute(select(each)).all() for each in tables])

    before = rows()
    subscribers = [LocalSubscriber(app), LocalSubscriber(app, ["run", "derived"], player.user_id)]
    initial = [each.all_messages() for each in subscribers]
    yield
    assert rows() == before
    assert [each.all_messages() for each in subscribers] == initial


def check(response, field, unexpected_errors):
    """Check that the response is an error that names this field alone."""
    error = response.json["error"]
    assert response.status_code == 400
    assert error.keys() == {"code", "message", "fields"}
    assert list(error["fields"]) == [field]
    assert all(isinstance(message, str) for message in error["fields"][field])
    assert len(response.data) < 1_000
    assert unexpected_errors == []


@pytest.mark.parametrize("field", BAD_NEW)
def test_an_invalid_field_of_a_new_board_is_named(send, unexpected_errors, field):
    for value in BAD_NEW[field]:
        check(send(CREATE, {**NEW, field: value}), field, unexpected_errors)


@pytest.mark.parametrize("field", BAD_FIELDS)
def test_an_invalid_field_of_a_change_is_named(send, unexpected_errors, field):
    for value in BAD_FIELDS[field]:
        check(send(CHANGE, {"title": "Changed", field: value}), field, unexpected_errors)


def test_an_invalid_number_of_places_is_named(send, unexpected_errors):
    for value in BAD_PLACES:
        check(send(REVEAL, {"places": value}), "places", unexpected_errors)
    check(send(REVEAL, {}), "places", unexpected_errors)


def test_a_board_that_is_not_frozen_has_nothing_to_reveal(send):
    for places in (1, "all"):
        response = send(REVEAL, {"places": places})

        assert (response.status_code, response.json["error"]["code"]) == (409, "not_frozen")


@pytest.mark.parametrize("field", BAD_UPDATES)
def test_an_invalid_board_or_season_of_an_update_is_named(client, player, unexpected_errors, field):
    for value in BAD_UPDATES[field]:
        data = json.dumps({**player.update(1), field: value})

        response = client.post("/api/score/update", data=data, headers=player.bearer)

        check(response, field, unexpected_errors)


def test_a_value_outside_the_bounds_of_the_board_is_named(client, player, unexpected_errors):
    update = player.update(101, board="run")

    response = client.post("/api/score/update", json=update, headers=player.bearer)

    check(response, "score_value", unexpected_errors)


@pytest.mark.parametrize("field", ["board_id", "title"])
def test_a_missing_field_is_named(send, unexpected_errors, field):
    body = {name: value for name, value in NEW.items() if name != field}

    check(send(CREATE, body), field, unexpected_errors)


@pytest.mark.parametrize(
    ("endpoint", "field"),
    [(CREATE, "state"), (CREATE, "season"), (CHANGE, "board_id"), (CHANGE, "source")],
)
def test_a_field_that_cannot_be_set_is_named(send, unexpected_errors, endpoint, field):
    body = NEW if endpoint is CREATE else {"title": "Changed"}

    check(send(endpoint, {**body, field: "x"}), field, unexpected_errors)


@pytest.mark.parametrize("endpoint", [CREATE, CHANGE, REVEAL], ids=["create", "change", "reveal"])
def test_a_body_that_is_not_a_json_object_of_at_most_64_kib_is_refused(send, endpoint):
    for data in [*NOT_JSON_OBJECTS, json.dumps({"x": "x" * 70_000})]:
        response = send(endpoint, data)

        assert (response.status_code, response.json["error"]["code"]) == (400, "invalid_json")


@pytest.mark.parametrize("endpoint", [CREATE, CHANGE], ids=["create", "change"])
def test_thousands_of_fields_get_one_short_error(send, endpoint):
    response = send(endpoint, {**NEW, **dict.fromkeys(map(str, range(4000)))})

    assert (response.status_code, response.json["error"]["code"]) == (400, "invalid_input")
    assert len(response.data) < 200


@pytest.mark.parametrize(("method", "path"), UNKNOWN_BOARD_PATHS)
def test_an_unknown_board_in_a_path_is_404(send, unexpected_errors, method, path):
    for board in ["nothing", "UPPER", "a%00b", "%ff", "%F0%9F%98%80", "x" * 5000]:
        body = {"places": 1} if path == "/reveal" else {"title": "x"}
        response = send((method, f"/api/admin/boards/{board}{path}"), body)

        assert (response.status_code, response.json["error"]["code"]) == (404, "unknown_board")
    assert unexpected_errors == []


LISTS = ["top10", "leaderboard", f"leaderboard/users/{USER_ID}"]


@pytest.mark.parametrize("path", LISTS)
def test_an_invalid_season_of_a_list_is_named(client, unexpected_errors, path):
    for season in ["", "0", "-1", "1.5", "x", "2", "1_0", "%201", "9" * 5000, "%00", "\u0663"]:
        response = client.get(f"/api/boards/run/{path}?season={season}")

        check(response, "season", unexpected_errors)


@pytest.mark.parametrize("path", ["", *(f"/{path}" for path in ["seasons", *LISTS])])
def test_an_invalid_live_of_a_read_is_named(client, unexpected_errors, path):
    for live in ["", "2", "true", "%00", "\u0663"]:
        check(client.get(f"/api/boards/run{path}?live={live}"), "live", unexpected_errors)


def test_invalid_users_of_a_list_are_named(client, unexpected_errors):
    too_many = ",".join([USER_ID] * 101)
    for users in ["", "x", ",", f"{USER_ID},", f"{USER_ID} ", too_many, "%00"]:
        response = client.get(f"/api/boards/run/leaderboard?users={users}")

        check(response, "users", unexpected_errors)


def test_an_invalid_text_to_search_is_named(client, unexpected_errors):
    for text in ["%00", "a" * 65]:
        check(client.get(f"/api/boards/run/leaderboard?query={text}"), "query", unexpected_errors)


@pytest.mark.parametrize("path", LISTS)
def test_a_query_that_is_not_utf8_is_refused(client, unexpected_errors, path):
    response = client.get(
        f"/api/boards/run/{path}", environ_overrides={"QUERY_STRING": "season=\x83"}
    )

    assert (response.status_code, response.json["error"]["code"]) == (400, "invalid_input")
    assert unexpected_errors == []
