"""The headers that every response has: no sniffing, and no storing of what is private."""

import socket

import pytest
import requests

from scoreboard.services import services
from tests.support.servers import RUN_MODES, Server

PLACES = [
    ("GET", "/"),
    ("GET", "/docs"),
    ("GET", "/embed.js"),
    ("GET", "/web/board/page.js"),
    ("GET", "/web/nowhere.js"),
    ("GET", "/nowhere"),
    ("PUT", "/api/score/top10"),
    ("GET", "/healthz"),
    ("GET", "/metrics"),
    ("GET", "/api/openapi.json"),
    ("GET", "/api/score/top10"),
    ("POST", "/api/score/update"),
    ("GET", "/api/leaderboard"),
    ("GET", "/api/leaderboard?limit=x"),
    ("POST", "/api/auth/viewer"),
    ("GET", "/ws/scoreboard"),
    ("GET", "/ws/scoreboard/?EIO=4&transport=polling"),
    ("GET", "/ws/scoreboard/?EIO=4&transport=pigeon"),
]
PUBLIC = ["/api/score/top10", "/api/leaderboard", "/api/leaderboard/users/{}"]
PRIVATE = ["/api/auth/me", "/api/users/{}/scores", "/api/score/batch", "/api/admin/marks"]


@pytest.fixture(scope="module", params=RUN_MODES)
def server(request, tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server"), request.param)
    yield server
    server.stop()


@pytest.mark.parametrize(("method", "path"), PLACES)
def test_no_response_may_be_sniffed(server, method, path):
    answer = requests.request(method, server.url + path, timeout=10)

    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_nor_may_an_unchanged_one(server):
    etag = requests.get(f"{server.url}/api/score/top10", timeout=10).headers["ETag"]

    answer = requests.get(
        f"{server.url}/api/score/top10", headers={"If-None-Match": etag}, timeout=10
    )

    assert answer.status_code == 304
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_nor_may_the_answer_to_malformed_http(tmp_path):
    server = Server(tmp_path)
    try:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw:
            raw.sendall(b"GET / HTTP/1.1\r\nno header\r\n\r\n")
            answer = raw.makefile("rb").read()
    finally:
        server.stop()

    assert answer.startswith(b"HTTP/1.1 400")
    assert b"\r\nX-Content-Type-Options: nosniff\r\n" in answer


def cache_control(answer):
    return answer.headers.getlist("Cache-Control")


@pytest.mark.parametrize("path", PRIVATE)
def test_what_is_private_is_not_stored(client, scorer, path):
    answer = client.get(path.format(scorer.user_id), headers=scorer.bearer)

    assert cache_control(answer) == ["no-store"]


@pytest.mark.parametrize("path", ["login", "register", "viewer", "refresh", "nowhere"])
def test_nor_is_what_an_auth_endpoint_answers_without_a_token(client, path):
    answer = client.post(f"/api/auth/{path}")

    assert cache_control(answer) == ["no-store"]


def test_nor_is_a_receipt(client, player):
    answer = client.post("/api/score/update", json=player.update(5), headers=player.bearer)

    assert answer.status_code == 200
    assert cache_control(answer) == ["no-store"]


def test_nor_is_a_polling_session(app, client):
    services(app).connections.on_first_connection(lambda: None)

    answer = client.get("/ws/scoreboard/?EIO=4&transport=polling")

    assert answer.status_code == 200
    assert cache_control(answer) == ["no-store"]


@pytest.mark.parametrize("path", PUBLIC)
@pytest.mark.parametrize("known", [{}, {"If-None-Match": "*"}])
@pytest.mark.parametrize("has_token", [True, False])
def test_the_public_board_is_stored_and_asked_for_each_time(client, player, path, known, has_token):
    client.post("/api/score/update", json=player.update(5), headers=player.bearer)
    token = player.bearer if has_token else {}

    answer = client.get(path.format(player.user_id), headers={**known, **token})

    assert answer.status_code == (304 if known else 200)
    assert answer.headers["ETag"]
    assert cache_control(answer) == ["no-cache"]


@pytest.mark.parametrize("settings", [{"PUBLIC_BOARD": "0"}])
def test_a_board_that_is_not_public_is_not_stored(client, player):
    answer = client.get("/api/leaderboard", headers=player.bearer)

    assert answer.status_code == 200
    assert cache_control(answer) == ["no-store"]
