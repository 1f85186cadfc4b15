"""Headers of every response: `nosniff`, and no storage of private content."""

import pytest
import requests

from scoreboard.services import services
from tests.support.servers import RUN_MODES, Server

REQUESTS = [
    *("GET /", "GET /docs", "GET /embed.js", "GET /web/board/page.js", "GET /web/nowhere.js"),
    *("GET /nowhere", "PUT /api/score/top10", "GET /healthz", "GET /metrics"),
    *("GET /api/openapi.json", "GET /api/score/top10", "POST /api/score/update"),
    *("GET /api/leaderboard", "GET /api/leaderboard?limit=x", "POST /api/auth/viewer"),
    *("GET /ws/scoreboard", "GET /ws/scoreboard/?EIO=4&transport=polling"),
    "GET /ws/scoreboard/?EIO=4&transport=pigeon",
]
PUBLIC = ["/api/score/top10", "/api/leaderboard", "/api/leaderboard/users/{}"]
WITH_TOKEN = ["/api/auth/me", "/api/users/{}/scores", "/api/score/batch", "/api/admin/marks"]
WITHOUT_TOKEN = ["login", "register", "viewer", "refresh", "nowhere"]


@pytest.fixture(scope="module", params=RUN_MODES)
def server(request, tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server"), request.param)
    yield server
    server.stop()


@pytest.mark.parametrize("line", REQUESTS)
def test_every_response_has_nosniff(server, line):
    method, path = line.split()

    response = requests.request(method, server.url + path, timeout=10)

    assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_a_304_has_nosniff(server):
    url = f"{server.url}/api/score/top10"
    etag = requests.get(url, timeout=10).headers["ETag"]

    response = requests.get(url, headers={"If-None-Match": etag}, timeout=10)

    assert response.status_code == 304
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def cache_control(response):
    return response.headers.getlist("Cache-Control")


@pytest.mark.parametrize("path", WITH_TOKEN)
def test_a_private_response_is_not_stored(client, scorer, path):
    response = client.get(path.format(scorer.user_id), headers=scorer.bearer)

    assert cache_control(response) == ["no-store"]


@pytest.mark.parametrize("path", WITHOUT_TOKEN)
def test_a_response_of_an_auth_endpoint_is_not_stored(client, path):
    assert cache_control(client.post(f"/api/auth/{path}")) == ["no-store"]


def test_a_receipt_is_not_stored(client, player):
    response = client.post("/api/score/update", json=player.update(5), headers=player.bearer)

    assert response.status_code == 200
    assert cache_control(response) == ["no-store"]


def test_a_polling_session_is_not_stored(app, client):
    services(app).connections.on_first_connection(lambda: None)

    response = client.get("/ws/scoreboard/?EIO=4&transport=polling")

    assert response.status_code == 200
    assert cache_control(response) == ["no-store"]


@pytest.mark.parametrize("path", PUBLIC)
@pytest.mark.parametrize("condition", [{}, {"If-None-Match": "*"}])
@pytest.mark.parametrize("has_token", [True, False])
def test_the_public_board_is_stored_and_revalidated(client, player, path, condition, has_token):
    client.post("/api/score/update", json=player.update(5), headers=player.bearer)
    token = player.bearer if has_token else {}

    response = client.get(path.format(player.user_id), headers={**condition, **token})

    assert response.status_code == (304 if condition else 200)
    assert response.headers["ETag"]
    assert cache_control(response) == ["no-cache"]


@pytest.mark.parametrize("settings", [{"PUBLIC_BOARD": "0"}])
def test_a_private_board_is_not_stored(client, player):
    response = client.get("/api/leaderboard", headers=player.bearer)

    assert response.status_code == 200
    assert cache_control(response) == ["no-store"]
