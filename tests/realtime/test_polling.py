"""Polling clients have the same limits as WebSockets."""

import itertools
import json

import pytest
import requests

from scoreboard.realtime.useless_traffic import MAX_FRAMES
from tests.support.metrics import series
from tests.support.servers import Server
from tests.support.waiting import wait_until

NUMBERS = itertools.count()


class Polling:
    """An Engine.IO client over HTTP."""

    def __init__(self, server, token):
        self.url = f"{server.url}/ws/scoreboard/?EIO=4&transport=polling"
        self.url += f"&sid={json.loads(self.get()[1:])['sid']}"
        self.post("40" + json.dumps({"token": token}))
        assert self.get().startswith("40{")

    def get(self):
        return requests.get(self.url, timeout=30).text

    def post(self, *packets):
        return requests.post(self.url, data="\x1e".join(packets), timeout=30).status_code


@pytest.fixture(scope="module", autouse=True)
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    assert "Traceback" not in server.log()
    server.stop()


@pytest.fixture
def player(server):
    return server.user(f"Player-{next(NUMBERS)}")


@pytest.fixture
def polling(server, player):
    return Polling(server, player.token)


def update(player, score):
    return json.dumps(["update_score", player.update(score)])


def scores(server, player):
    return [entry for entry in server.top10() if entry["user_id"] == player.user_id]


def test_a_client_that_never_polls_is_closed(server, player, polling):
    for number in range(1100):
        status, _ = server.send(player.token, player.update(number, nonce=f"number-{number}"))
        assert status == 200

    wait_until(lambda: polling.post("3") == 400)


def test_too_many_useless_packets_end_the_session_before_any_is_handled(server, player, polling):
    accepted = [polling.post(*["3"] * 15) for _ in range(MAX_FRAMES // 15)]

    assert polling.post("42" + update(player, 7), *["3"] * 15) == 400
    assert accepted == [200] * len(accepted)
    assert scores(server, player) == []
    assert polling.post("3") == 400


@pytest.mark.parametrize("data", ["null", "false", "true", "NaN", "-1", "[]", '{"a":1}', '"text"'])
def test_a_json_packet_that_is_not_text_ends_the_session(polling, data):
    assert polling.post(f"4{data}") == 200

    assert polling.post("3") == 400


def test_an_unknown_namespace_is_refused_and_the_main_one_remains(server, player, polling):
    polling.post('40/random?a=b,{"token":"x"}')
    packet = polling.get()
    polling.post("42" + update(player, 7))

    assert packet.startswith("44/random,")
    refusal = json.loads(packet.removeprefix("44/random,"))
    assert refusal["message"]
    assert refusal["data"] == {"code": "unknown_namespace", "message": refusal["message"]}
    wait_until(lambda: scores(server, player) != [])


def test_clients_that_leave_are_not_counted(server, player):
    def count():
        metrics = series(requests.get(f"{server.url}/metrics", timeout=10).text)
        return metrics["scoreboard_connections", "socket.io"]

    before = count()

    for _ in range(5):
        Polling(server, player.token).post("1")

    wait_until(lambda: count() <= before)


@pytest.mark.parametrize("invalid", ["9", "d=", "b!", "0", "2", "4" + "[" * 60_000, "3\x1e" * 20])
def test_an_invalid_packet_prevents_all_of_its_request(server, player, polling, invalid):
    assert polling.post("421" + update(player, 7), invalid) == 400

    assert scores(server, player) == []
