"""The client's address, with and without proxies in front of the server."""

import json

import pytest
import requests
import websocket

from tests.support.servers import Server
from tests.support.subscribers import WebSocketClient

FORWARDED_FOR = "10.1.1.1:4001, 10.2.2.2:4002"


@pytest.mark.parametrize(
    ("proxies", "address"), [("0", "127.0.0.1"), ("1", "10.2.2.2"), ("2", "10.1.1.1")]
)
def test_the_client_address_is_from_the_last_trusted_proxy(tmp_path, closing, proxies, address):
    server = Server(tmp_path, TRUSTED_PROXIES=proxies, CONNECTIONS_PER_ADDRESS="1")

    def watch(forwarded_for):
        header = [f"X-Forwarded-For: {forwarded_for}"]
        return closing(WebSocketClient(server.url, player.token, "query", header=header))

    try:
        player = server.user("Ann")
        headers = {**player.bearer, "X-Forwarded-For": FORWARDED_FOR}
        url = f"{server.url}/api/score/update"
        requests.post(url, json=player.update(1), headers=headers, timeout=10)

        lines = [json.loads(line) for line in server.log().splitlines() if line.startswith("{")]
        assert lines[-1]["address"] == address
        assert watch(FORWARDED_FOR)
        with pytest.raises(websocket.WebSocketBadStatusException):
            watch(FORWARDED_FOR)
        if proxies != "0":
            assert watch("10.3.3.3, 10.4.4.4")
    finally:
        server.stop()


@pytest.fixture
def proxied_server(tmp_path):
    limits = {"CONNECTIONS_PER_ADDRESS": "1", "VIEWER_RATE_LIMIT": "1/minute"}
    server = Server(tmp_path, TRUSTED_PROXIES="1", **limits)
    yield server
    server.stop()


def test_all_spellings_of_an_address_share_a_limit(proxied_server):
    groups = [
        ["10.9.9.9, 10.0.0.1", "10.8.8.8, 10.0.0.1", "10.0.0.1:40001", '"10.0.0.1:40002"'],
        ["10.0.0.2", "::ffff:10.0.0.2", "[::ffff:10.0.0.2]:40001", "::ffff:10.0.0.2:40001"],
        [f"{prefix}, 10.0.0.3" for prefix in ('"', '"a', 'a, "', '"\\', "a")],
        # One customer's network is one address.
        ["2001:db8::1", "2001:db8::ffff:2", "[2001:db8::2]:40002", '"[2001:db8::1]:40001"'],
        ["2001:db8:0:1::1", "[2001:db8:0:1::2]", "2001:db8:0:1:1:2:3:4:40001"],
        ["fe80::1%eth0", "fe80::1%eth1"],
        # Not an address: counts as the proxy.
        ["unknown", "127.0.0.1", "_hidden", "10.0.0.256", "1.2.3", "[2001:db8::g]:1", "x" * 200],
    ]

    def request_token(forwarded_for):
        headers = {"X-Forwarded-For": forwarded_for}
        url = f"{proxied_server.url}/api/auth/viewer"
        return requests.post(url, headers=headers, timeout=10).status_code

    for first, *others in groups:
        assert request_token(first) == 200
        assert [request_token(other) for other in others] == [429] * len(others)


def test_a_second_socket_io_session_of_a_forwarded_address_closes_the_first(proxied_server):
    url = f"{proxied_server.url}/ws/scoreboard/?EIO=4&transport=polling"

    def open_session(address):
        headers = {"X-Forwarded-For": f"10.9.9.9, {address}"}
        return json.loads(requests.get(url, headers=headers, timeout=10).text[1:])["sid"]

    def is_open(sid):
        return requests.post(f"{url}&sid={sid}", data="3", timeout=10).status_code == 200

    first, other = open_session("10.0.0.1"), open_session("10.0.0.2")
    assert is_open(first)
    second = open_session("10.0.0.1")

    assert [is_open(first), is_open(second), is_open(other)] == [False, True, True]
