"""Malformed headers and Engine.IO queries get a short error and cause no server error."""

import json

import pytest
from werkzeug.sansio import request as sansio

from scoreboard.services import services

FILES = ["/web/board/page.js", "/embed.js"]
ENGINE = "/ws/scoreboard/?EIO=4"
HANDSHAKE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "x",
}


@pytest.fixture
def engine(app):
    """Return the Engine.IO server."""
    return services(app).socketio.server.eio


@pytest.fixture
def session(client, engine):
    """Return the URL of a new polling session."""
    opened = client.get(f"{ENGINE}&transport=polling").text
    return f"{ENGINE}&transport=polling&sid={json.loads(opened[1:])['sid']}"


def result(response):
    return response.status_code, response.json["error"]["code"]


@pytest.mark.parametrize("url", FILES)
@pytest.mark.parametrize("date", ["Mon, 01 Jan 99999999999 00:00:00 GMT", "1 Jan 9999999999 0:0"])
def test_a_date_out_of_range_is_ignored(client, unexpected_errors, url, date):
    content = client.get(url).data

    since = client.get(url, headers={"If-Modified-Since": date})
    part = client.get(url, headers={"If-Range": date, "Range": "bytes=0-9"})

    assert (since.status_code, since.data) == (200, content)
    assert (part.status_code, part.data) == (200, content)
    assert unexpected_errors == []


@pytest.mark.parametrize("url", FILES)
def test_a_valid_date_is_respected(client, url):
    date = client.get(url).headers["Last-Modified"]

    since = client.get(url, headers={"If-Modified-Since": date})
    part = client.get(url, headers={"If-Range": date, "Range": "bytes=0-9"})

    assert since.status_code == 304
    assert (part.status_code, len(part.data)) == (206, 10)


@pytest.mark.parametrize("url", ["/", "/healthz", "/nowhere", "/api/leaderboard", "/ws/scoreboard"])
def test_cookies_are_never_parsed_because_that_can_take_seconds(app, monkeypatch, url):
    parsed, client = [], app.test_client(use_cookies=False)  # or it would replace the header
    monkeypatch.setattr(sansio, "parse_cookie", lambda text, cls: parsed.append(text) or cls())

    client.get(url, headers={"Cookie": "a=" + " " * 8000 + '"x', **HANDSHAKE})

    assert "".join(parsed) == ""


@pytest.mark.parametrize(
    "names", ["", "Upgrade", "Connection", "Upgrade Connection", "Upgrade Sec-WebSocket-Version"]
)
def test_an_incomplete_handshake_gets_426(client, engine, names):
    headers = {name: HANDSHAKE[name] for name in names.split()}

    response = client.get(f"{ENGINE}&transport=websocket", headers=headers)

    assert result(response) == (426, "upgrade_required")
    assert response.headers["Upgrade"] == "websocket"
    assert response.headers["Sec-WebSocket-Version"] == "13"
    assert not engine.sockets


def test_a_poll_with_an_incomplete_handshake_gets_426(client, session):
    response = client.get(session, headers={"Upgrade": "websocket", "Connection": "Upgrade"})

    assert result(response) == (426, "upgrade_required")


def test_an_upgrade_header_alone_does_not_disturb_polling(client, engine):
    response = client.get(ENGINE, headers={"Upgrade": "websocket"})

    assert response.status_code == 200
    assert len(engine.sockets) == 1


@pytest.mark.parametrize(
    ("method", "query", "status", "code"),
    [
        ("GET", "EIO=4&transport=polling&sid=unknown", 400, "session_ended"),
        ("POST", "EIO=4&transport=polling&sid=unknown", 400, "session_ended"),
        ("POST", "EIO=4&transport=polling", 400, "session_ended"),
        ("GET", "EIO=4&sid=" + "%C2%80" * 2000, 400, "session_ended"),
        ("POST", "EIO=4&sid=" + "x" * 65, 400, "session_ended"),
        ("POST", "EIO=4&sid=a%20b", 400, "session_ended"),
        ("GET", "EIO=4&sid=%D9%A1", 400, "session_ended"),
        ("GET", "EIO=4&transport=pigeon", 400, "unknown_transport"),
        ("GET", "EIO=3&transport=polling", 400, "unsupported_protocol"),
        ("GET", "transport=polling", 400, "unsupported_protocol"),
        ("GET", "EIO=4&j=x", 400, "bad_request"),
        ("PUT", "EIO=4&transport=polling", 405, "method_not_allowed"),
        ("DELETE", "EIO=4&transport=polling&sid=unknown", 405, "method_not_allowed"),
    ],
    ids=lambda value: str(value)[:40],
)
@pytest.mark.usefixtures("engine")
def test_errors_of_engine_io_are_short_and_have_the_error_shape(
    client, method, query, status, code
):
    response = client.open(f"/ws/scoreboard/?{query}", method=method)

    assert (result(response), response.content_type) == ((status, code), "application/json")
    assert response.json["error"].keys() == {"code", "message"}
    assert len(response.data) < 200
    assert response.headers.get("Allow") == ("GET, POST, OPTIONS" if status == 405 else None)


@pytest.mark.parametrize(
    ("method", "data", "is_upgraded", "code"),
    [
        ("GET", None, True, "transport_mismatch"),
        ("POST", "3", True, "transport_mismatch"),
        ("POST", "9", False, "session_ended"),
    ],
)
def test_a_poll_that_a_session_refuses_has_a_code(
    client, engine, session, method, data, is_upgraded, code
):
    next(iter(engine.sockets.values())).upgraded = is_upgraded

    assert result(client.open(session, method=method, data=data)) == (400, code)


def test_a_stopping_server_refuses_sessions(app, client, engine):
    services(app).connections.stopping = True

    assert result(client.get(f"{ENGINE}&transport=polling")) == (500, "stopping")
