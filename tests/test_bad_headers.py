"""Headers and queries that make no sense are no reason to fail, or to say much."""

import pytest
from werkzeug.sansio import request as sansio

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
    app.extensions["connections"].when_first(lambda: None)  # the keeper, for good
    return app.extensions["socketio"].server.eio


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
