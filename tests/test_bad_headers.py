"""Headers that make no sense are no reason to fail."""

import pytest

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
