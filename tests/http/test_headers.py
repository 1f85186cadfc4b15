"""Headers of every response: `nosniff`, and no storage of private content."""

import pytest
import requests

from tests.support.servers import RUN_MODES

REQUESTS = [
    *("GET /", "GET /docs", "GET /embed.js", "GET /web/board/page.js", "GET /web/nowhere.js"),
    *("GET /nowhere", "PUT /api/score/top10", "GET /healthz", "GET /metrics"),
    *("GET /api/openapi.json", "GET /api/score/top10", "POST /api/score/update"),
    *("GET /api/leaderboard", "GET /api/leaderboard?limit=x", "POST /api/auth/viewer"),
    *("GET /ws/scoreboard", "GET /ws/scoreboard/?EIO=4&transport=polling"),
    "GET /ws/scoreboard/?EIO=4&transport=pigeon",
]
PUBLIC = ["/api/score/top10", "/api/leaderboard", "/api/leaderboard/users/{}"]
PRIVATE = [
    *("GET /api/auth/me", "GET /api/users/{}/scores", "GET /api/score/batch"),
    *("GET /api/admin/marks", "POST /api/auth/login", "POST /api/auth/register"),
    *("POST /api/auth/viewer", "POST /api/auth/refresh", "POST /api/auth/nowhere"),
    "GET /ws/scoreboard/?EIO=4&transport=polling",
]
in_both_run_modes = pytest.mark.parametrize("server", RUN_MODES, indirect=True)


@in_both_run_modes
@pytest.mark.parametrize("line", REQUESTS)
def test_every_response_has_nosniff(server, line):
    method, path = line.split()

    response = requests.request(method, server.url + path, timeout=10)

    assert response.headers["X-Content-Type-Options"] == "nosniff"


@in_both_run_modes
def test_a_304_has_nosniff(server):
    headers = {"If-None-Match": "*"}

    response = requests.get(f"{server.url}/api/score/top10", headers=headers, timeout=10)

    assert response.status_code == 304
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def cache_control(response):
    return response.headers.getlist("Cache-Control")


@pytest.mark.parametrize("line", PRIVATE)
def test_a_private_response_is_not_stored(app, client, scorer, line):
    method, path = line.split()

    response = client.open(path.format(scorer.user_id), method=method, headers=scorer.bearer)

    assert cache_control(response) == ["no-store"]


def test_a_receipt_is_not_stored(client, player):
    response = client.post("/api/score/update", json=player.update(5), headers=player.bearer)

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
