"""The servers that `make bench` compares with keep the core of the contract.

`make bench` runs this, for it sets the peers up, which takes minutes.
"""

import itertools

import pytest
import requests

from bench.subjects import FastApi, Node, token
from tests.support.subscribers import SocketIoViewer

NONCES = itertools.count(10_000_000)


@pytest.fixture(params=["sqlite", "postgres"], scope="module")
def kind(request):
    return request.param


@pytest.fixture(params=[Node, FastApi], ids=lambda subject: subject.name, scope="module")
def server(request, kind):
    if not request.param.is_installed():
        pytest.skip(f"`make bench` has not set up {request.param.name} here")
    subject = request.param(kind, players=11)
    yield subject
    subject.stop()


def update_of(user_id, score, timestamp="2026-01-01T00:00:00Z"):
    """Return the body of an update that is not a replay."""
    nonce = str(next(NONCES))
    return {"user_id": user_id, "score_value": score, "timestamp": timestamp, "nonce": nonce}


def test_an_update_is_acknowledged_and_pushed(server):
    player = server.players[0]
    viewer = SocketIoViewer(server.url, server.viewer_token())

    response = server.post(server.scorer_token, update_of(player, 120))

    assert response.status_code == 200
    assert {"user_id": player, "score": 120, "applied": True}.items() <= response.json().items()
    expected = {"type": "score_update", "data": {"user_id": player, "new_score": 120}}
    viewer.wait_for(lambda messages: expected in messages)
    viewer.close()


def test_an_update_by_event_is_acknowledged(server):
    submitter = SocketIoViewer(server.url, server.scorer_token)

    acknowledged = submitter.submit(update_of(server.players[0], 130))

    assert (acknowledged["status"], acknowledged["body"]["score"]) == (200, 130)
    submitter.close()


def test_a_replayed_update_changes_nothing(server):
    update = update_of(server.players[0], 140)
    server.post(server.scorer_token, update)
    recorded, top10 = server.recorded(), server.top10()

    response = server.post(server.scorer_token, update)

    assert (response.status_code, response.json()["error"]["code"]) == (400, "replayed")
    assert (server.recorded(), server.top10()) == (recorded, top10)


def test_an_older_update_is_history_only(server):
    player = server.players[0]
    server.post(server.scorer_token, update_of(player, 150))

    response = server.post(
        server.scorer_token, update_of(player, 999, timestamp="2025-01-01T00:00:00Z")
    )

    assert response.status_code == 200
    assert {"score": 150, "applied": False}.items() <= response.json().items()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"score_value": "7"}, "invalid"),
        ({"nonce": "short"}, "invalid"),
        ({"user_id": "00000000-0000-4000-8000-000000000000"}, "unknown_user"),
        ({"timestamp": "2999-01-01T00:00:00Z"}, "timestamp_in_future"),
    ],
)
def test_invalid_input_is_refused(server, change, code):
    response = server.post(server.scorer_token, update_of(server.players[0], 1) | change)

    assert (response.status_code, response.json()["error"]["code"]) == (400, code)


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

    best_first = list(reversed([*enumerate(server.players, 1000)]))[:10]
    expected = [{"user_id": player, "score": score} for score, player in best_first]
    assert response.json() == {"top_10_scores": expected}
    repeated = requests.get(url, headers={"If-None-Match": response.headers["ETag"]}, timeout=10)
    assert repeated.status_code == 304
