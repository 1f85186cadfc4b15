"""Headers and queries that make no sense are no reason to fail, or to say much."""

import json

import pytest
from werkzeug.sansio import request as sansio

from scoreboard.services import services

BEYOND = ["Mon, 01 Jan 99999999999 00:00:00 GMT", "1 Jan 9999999999 0:0"]
FILES = ["/web/board/page.js", "/embed.js"]
WEBSOCKET = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "x",
}
HALF = [
    {"Upgrade": "websocket"},
    {"Connection": "Upgrade"},
    {"Upgrade": "websocket", "Connection": "keep-alive", "Sec-WebSocket-Version": "13"},
    {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"},
    {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": "x"},
    {},
]


@pytest.fixture
def library(app):
    services(app).connections.on_first_connection(lambda: None)  # the keeper, for good
    return services(app).socketio.server.eio


@pytest.mark.parametrize("date", BEYOND)
@pytest.mark.parametrize("url", FILES)
def test_a_date_beyond_all_calendars_is_ignored(client, unforeseen, url, date):
    whole = client.get(url).data

    since = client.get(url, headers={"If-Modified-Since": date})
    part = client.get(url, headers={"If-Range": date, "Range": "bytes=0-9"})

    assert (since.status_code, since.data) == (200, whole)
    assert (part.status_code, part.data) == (200, whole)
    assert unforeseen == []


@pytest.mark.parametrize("url", FILES)
def test_a_date_that_is_one_is_heeded(client, url):
    date = client.get(url).headers["Last-Modified"]

    assert client.get(url, headers={"If-Modified-Since": date}).status_code == 304
    part = client.get(url, headers={"If-Range": date, "Range": "bytes=0-9"})
    assert (part.status_code, len(part.data)) == (206, 10)


@pytest.mark.parametrize("url", ["/", "/healthz", "/nowhere", "/api/leaderboard", "/ws/scoreboard"])
def test_no_cookie_is_read_for_that_can_take_seconds(app, monkeypatch, url):
    read, client = [], app.test_client(use_cookies=False)  # or it would send its own alone
    monkeypatch.setattr(sansio, "parse_cookie", lambda said, cls: read.append(said) or cls())

    client.get(url, headers={"Cookie": "a=" + " " * 8000 + '"x', **WEBSOCKET})

    assert "".join(read) == ""


@pytest.mark.parametrize("headers", HALF, ids=str)
def test_a_websocket_of_socket_io_that_asks_for_no_upgrade_is_told_so(client, library, headers):
    answer = client.get("/ws/scoreboard/?EIO=4&transport=websocket", headers=headers)

    assert answer.status_code == 426
    assert answer.json["error"]["code"] == "upgrade_required"
    assert answer.headers["Upgrade"] == "websocket"
    assert not library.sockets


def test_a_poll_may_say_what_it_likes_of_upgrades(client, library):
    answer = client.get("/ws/scoreboard/?EIO=4", headers={"Upgrade": "websocket"})

    assert answer.status_code == 200
    assert len(library.sockets) == 1


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("sid", ["\x80" * 2000, "x" * 65, "a b", "\u0661"], ids=ascii)
def test_what_names_no_session_is_not_told_back(client, method, sid):
    answer = client.open("/ws/scoreboard/", method=method, query_string={"EIO": "4", "sid": sid})

    assert (answer.status_code, answer.json["error"]["code"]) == (400, "session_ended")
    assert len(answer.data) < 200


@pytest.fixture
def polling(client):
    """Return the address of a polling session that has just been opened."""
    opened = client.get("/ws/scoreboard/?EIO=4&transport=polling").text
    sid = json.loads(opened[1:])["sid"]
    return f"/ws/scoreboard/?EIO=4&transport=polling&sid={sid}"


@pytest.mark.parametrize(
    ("method", "query", "status", "code"),
    [
        ("GET", "EIO=4&transport=polling&sid=unknown", 400, "session_ended"),
        ("POST", "EIO=4&transport=polling&sid=unknown", 400, "session_ended"),
        ("POST", "EIO=4&transport=polling", 400, "session_ended"),
        ("GET", "EIO=4&transport=pigeon", 400, "unknown_transport"),
        ("GET", "EIO=3&transport=polling", 400, "unsupported_protocol"),
        ("GET", "transport=polling", 400, "unsupported_protocol"),
        ("GET", "EIO=4&j=x", 400, "bad_request"),
        ("PUT", "EIO=4&transport=polling", 405, "method_not_allowed"),
        ("DELETE", "EIO=4&transport=polling&sid=unknown", 405, "method_not_allowed"),
    ],
)
def test_what_engine_io_refuses_has_the_error_shape(client, library, method, query, status, code):
    answer = client.open(f"/ws/scoreboard/?{query}", method=method)

    assert (answer.status_code, answer.content_type) == (status, "application/json")
    assert answer.json["error"]["code"] == code
    assert answer.json["error"].keys() == {"code", "message"}


@pytest.mark.usefixtures("library")
def test_a_wrong_method_is_told_the_right_ones(client):
    answer = client.put("/ws/scoreboard/?EIO=4&transport=polling")

    assert answer.headers["Allow"] == "GET, POST, OPTIONS"


@pytest.mark.usefixtures("library")
def test_a_malformed_payload_ends_the_session_with_the_error_shape(client, polling):
    answer = client.post(polling, data="9")

    assert (answer.status_code, answer.json["error"]["code"]) == (400, "session_ended")


def test_a_poll_of_an_upgraded_session_has_the_error_shape(client, library, polling):
    next(iter(library.sockets.values())).upgraded = True

    answers = client.get(polling), client.post(polling, data="3")

    for answer in answers:
        assert (answer.status_code, answer.json["error"]["code"]) == (400, "transport_mismatch")


@pytest.mark.usefixtures("library")
def test_a_poll_that_half_asks_for_a_websocket_is_told_what_is_missing(client, polling):
    half = {"Upgrade": "websocket", "Connection": "Upgrade"}

    answer = client.get(polling, headers=half)

    assert (answer.status_code, answer.json["error"]["code"]) == (426, "upgrade_required")
    assert answer.headers["Sec-WebSocket-Version"] == "13"


def test_a_connection_too_many_is_refused_with_the_status_of_its_code(app, client, library):
    services(app).connections.stopping = True

    answer = client.get("/ws/scoreboard/?EIO=4&transport=polling")

    assert (answer.status_code, answer.json["error"]["code"]) == (500, "stopping")
