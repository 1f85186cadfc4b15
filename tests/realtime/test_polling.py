"""Polling clients: held to the same bounds as WebSockets."""

import json

import pytest
import requests

from scoreboard.realtime.useless_traffic import MAX_FRAMES
from tests.support.servers import Server
from tests.support.waiting import wait_until


class Polling:
    """Engine.IO by hand, over HTTP."""

    def __init__(self, server, token):
        self.url = f"{server.url}/ws/scoreboard/?EIO=4&transport=polling"
        self.url += f"&sid={json.loads(self.get()[1:])['sid']}"
        self.post("40" + json.dumps({"token": token}))
        assert self.get().startswith("40{")

    def get(self):
        return requests.get(self.url, timeout=30).text

    def post(self, packets):
        return requests.post(self.url, data=packets, timeout=30).status_code


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path)
    yield server
    server.stop()


def test_who_stays_and_never_comes_for_its_messages_is_closed(server):
    player = server.user("Ann")
    idle = Polling(server, player.token)
    for number in range(1100):
        status, _ = server.send(player.token, player.update(number, nonce=f"number-{number}"))
        assert status == 200

    wait_until(lambda: idle.post("3") == 400)


def test_who_posts_too_much_that_says_nothing_is_closed_and_none_of_that_post_is_taken(server):
    player = server.user("Ann")
    polling = Polling(server, player.token)
    nothing = ["3"] * 15
    posted = [polling.post("\x1e".join(nothing)) for _ in range(MAX_FRAMES // 15)]
    update = "42" + json.dumps(["update_score", player.update(7)])

    assert polling.post("\x1e".join([update, *nothing])) == 400
    assert posted == [200] * len(posted)
    assert server.top10() == []
    assert polling.post("3") == 400


@pytest.mark.parametrize("said", ["null", "false", "true", "NaN", "-1", "[]", '{"a":1}', '"text"'])
def test_a_packet_that_is_json_and_no_text_ends_the_session(server, said):
    polling = Polling(server, server.user("Ann").token)

    assert polling.post(f"4{said}") == 200

    assert polling.post("3") == 400
    assert "ERROR" not in server.log()


def test_an_unknown_namespace_is_refused_with_a_message_and_a_code(server):
    polling = Polling(server, server.user("Ann").token)
    polling.post('40/random?a=b,{"token":"x"}')
    packet = polling.get()

    assert packet.startswith("44/random,")
    refusal = json.loads(packet.removeprefix("44/random,"))
    assert refusal["message"]
    assert refusal["data"] == {"code": "unknown_namespace", "message": refusal["message"]}


def test_a_client_of_an_unknown_namespace_may_still_use_the_main_one(server):
    player = server.user("Ann")
    polling = Polling(server, player.token)
    polling.post("40/random,")

    polling.post("42" + json.dumps(["update_score", player.update(7)]))

    wait_until(lambda: server.top10() != [])


def test_a_client_that_comes_and_goes_leaves_nothing_behind(server):
    player = server.user("Ann")
    for _ in range(5):
        leaving = Polling(server, player.token)
        leaving.post("1")

    def gone():
        metrics = requests.get(f"{server.url}/metrics", timeout=10).text
        return 'scoreboard_connections{kind="socket.io"} 0.0' in metrics

    wait_until(gone)


@pytest.mark.parametrize("broken", ["9", "d=", "b!", "0", "2", "4" + "[" * 60_000, "3\x1e" * 20])
def test_packets_are_taken_all_or_none(server, broken):
    player = server.user("Ann")
    polling = Polling(server, player.token)
    update = json.dumps(["update_score", player.update(7)])

    assert polling.post(f"421{update}\x1e{broken}") == 400

    assert server.top10() == []
    assert "ERROR" not in server.log()
