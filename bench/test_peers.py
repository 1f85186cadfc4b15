"""The peers that `make bench` compares with implement the core of the contract.

`make bench` installs the peers, which takes minutes, and runs these tests.
"""

import itertools

import pytest
import requests

from bench.servers import FastApi, Node, token
from tests.support.subscribers import SocketIoViewer

NONCES = itertools.count(10_000_000)


@pytest.fixture(params=["sqlite", "postgres"], scope="module")
def database(request):
    return request.param


@pytest.fixture(params=[Node, FastApi], ids=lambda peer: peer.name, scope="module")
def server(request, database):
    if not request.param.is_installed():
        pytest.skip(f"`make bench` has not installed {request.param.name}")
    server = request.param(database, players=11)
    yield server
    server.stop()


def update_of(user_id, score, timestamp="2026-01-01T00:00:00Z"):
    """Return the body of an update that is not a replay."""
    nonce = str(next(NONCES))
    return {"user_id": user_id, "score_value": score, "timestamp": timestamp, "nonce": nonce}


def test_an_update_is_acknowledged_and_pushed(server):
    player = server.players[0]
    subscriber = SocketIoViewer(server.url, server.viewer_token())

    response = server.post(server.scorer_token, update_of(player, 120))

    assert response.status_code == 200
    assert {"user_id": player, "score": 120, "applied": True}.items() <= response.json().items()
    expected = {"type": "score_update", "data": {"user_id": player, "new_score": 120}}
    subscriber.wait_for(lambda messages: expected in messages)
    subscriber.close()


def test_an_update_by_event_is_acknowledged(server):
    client = SocketIoViewer(server.url, server.scorer_token)

    response = client.submit(update_of(server.players[0], 130))

    assert (response["status"], response["body"]["score"]) == (200, 130)
    client.close()


def test_an_older_update_is_not_applied(server):
    player = server.players[0]
    server.post(server.scorer_token, update_of(player, 150))

    response = server.post(server.scorer_token, update_of(player, 999, "2025-01-01T00:00:00Z"))

    assert {"score": 150, "applied": False}.items() <= response.json().items()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"nonce": "a-replayed-one"}, "replayed"),
        ({"score_value": "7"}, "invalid"),
        ({"nonce": "short"}, "invalid"),
        ({"user_id": "00000000-0000-4000-8000-000000000000"}, "unknown_user"),
        ({"timestamp": "2999-01-01T00:00:00Z"}, "timestamp_in_future"),
    ],
)
def test_a_refused_update_is_not_recorded(server, change, code):
    server.post(server.scorer_token, update_of(server.players[0], 1) | {"nonce": "a-replayed-one"})
    recorded = server.recorded()

    response = server.post(server.scorer_token, update_of(server.players[0], 1) | change)

    assert (response.status_code, response.json()["error"]["code"]) == (400, code)
    assert server.recorded() == recorded


def test_a_player_may_update_only_their_own_score(server):
    player, other = server.players[:2]
    bearer = token(player, "player")

    assert server.post(bearer, update_of(player, 160)).status_code == 200
    assert server.post(bearer, update_of(other, 160)).status_code == 401
    assert server.post("no token", update_of(player, 160)).status_code == 401


def test_the_top_10_is_in_order_and_has_an_etag(server):
    for score, player in enumerate(server.players, 1000):
        server.post(server.scorer_token, update_of(player, score))
    url = f"{server.url}/api/score/top10"

    response = requests.get(url, timeout=10)

    best_first = list(enumerate(server.players, 1000))[:0:-1]
    expected = [{"user_id": player, "score": score} for score, player in best_first]
    assert response.json() == {"top_10_scores": expected}
    repeated = requests.get(url, headers={"If-None-Match": response.headers["ETag"]}, timeout=10)
    assert repeated.status_code == 304
