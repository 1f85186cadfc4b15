"""Who the client is, with and without proxies in front."""

import json

import pytest
import requests
import websocket

from tests.support.servers import Server
from tests.support.subscribers import PlainViewer

FORWARDED = "10.1.1.1:4001, 10.2.2.2:4002"


@pytest.mark.parametrize(
    ("proxies", "address"), [("0", "127.0.0.1"), ("1", "10.2.2.2"), ("2", "10.1.1.1")]
)
def test_only_as_many_proxies_are_believed_as_there_are(tmp_path, watching, proxies, address):
    server = Server(tmp_path, TRUSTED_PROXIES=proxies, CONNECTIONS_PER_ADDRESS="1")
    try:
        player = server.user("Ann")
        headers = {**player.bearer, "X-Forwarded-For": FORWARDED}
        url = f"{server.url}/api/score/update"
        requests.post(url, json=player.update(1), headers=headers, timeout=10)

        lines = [json.loads(line) for line in server.log().splitlines() if line.startswith("{")]
        assert lines[-1]["address"] == address

        forwarded = [f"X-Forwarded-For: {FORWARDED}"]
        watching(PlainViewer(server.url, player.token, "query", header=forwarded))
        with pytest.raises(websocket.WebSocketBadStatusException):
            PlainViewer(server.url, player.token, "query", header=forwarded)
        other = ["X-Forwarded-For: 10.3.3.3, 10.4.4.4"]
        if proxies != "0":
            assert watching(PlainViewer(server.url, player.token, "query", header=other))
    finally:
        server.stop()


@pytest.fixture
def behind_one_proxy(tmp_path):
    limits = {"CONNECTIONS_PER_ADDRESS": "1", "VIEWER_RATE_LIMIT": "1/minute"}
    server = Server(tmp_path, TRUSTED_PROXIES="1", **limits)
    yield server
    server.stop()


@pytest.fixture
def ask(behind_one_proxy):
    """Return a function that asks for a viewer token as somebody who was forwarded for this."""

    def ask(forwarded):
        headers = {"X-Forwarded-For": forwarded}
        url = f"{behind_one_proxy.url}/api/auth/viewer"
        return requests.post(url, headers=headers, timeout=10).status_code

    return ask


def test_the_auth_limits_see_the_client_behind_the_proxy(ask):
    assert [ask("10.9.9.9, 10.0.0.1"), ask("10.9.9.9, 10.0.0.2")] == [200, 200]
    assert ask("10.9.9.9, 10.0.0.1") == 429


@pytest.mark.parametrize("said", ['"', '"a', 'a, "', '"\\', "a"])
def test_a_client_cannot_hide_behind_the_proxy_by_what_it_says(ask, said):
    assert [ask(f"{said}, 10.0.0.1") for _ in range(2)] == [200, 429]
    assert ask(f"{said}, 10.0.0.2") == 200


def test_a_network_of_one_customer_is_one_address(ask):
    assert [ask("2001:db8::1"), ask("2001:db8::ffff:2")] == [200, 429]
    assert ask("2001:db8:0:1::1") == 200


def test_an_ipv4_address_is_the_same_when_it_is_written_as_ipv6(ask):
    assert [ask("::ffff:10.0.0.1"), ask("10.0.0.1")] == [200, 429]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("10.0.0.1:40001", "10.0.0.1:40002"),
        ("10.0.0.1:40001", "10.0.0.1"),
        ('"10.0.0.1:40001"', "10.0.0.1"),
        ("[::ffff:10.0.0.1]:40001", "10.0.0.1"),
        ("::ffff:10.0.0.1:40001", "10.0.0.1"),
        ("[2001:db8::1]:40001", "[2001:db8::2]:40002"),
        ('"[2001:db8::1]:40001"', "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::2"),
        ("2001:db8:0:0:1:2:3:4:40001", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1%eth1"),
    ],
)
def test_a_port_does_not_make_another_client(ask, first, second):
    assert [ask(first), ask(second)] == [200, 429]
    assert ask("10.0.0.2:40001") == 200


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("unknown", "127.0.0.1"),
        ("_hidden", "_secret"),
        ("garbage-1", "garbage-2"),
        ("10.0.0.256", "1.2.3"),
        ("[2001:db8::g]:1", "for=10.0.0.1"),
        ("x" * 200, "y" * 200),
    ],
)
def test_what_is_no_address_counts_as_the_proxy(ask, first, second):
    assert [ask(first), ask(second)] == [200, 429]


def test_socket_io_sees_the_client_behind_the_proxy(behind_one_proxy):
    """Of one address no two may have yet to authenticate: the first makes room."""
    url = f"{behind_one_proxy.url}/ws/scoreboard/?EIO=4&transport=polling"

    def open_one(address):
        headers = {"X-Forwarded-For": f"10.9.9.9, {address}"}
        return json.loads(requests.get(url, headers=headers, timeout=10).text[1:])["sid"]

    def is_open(sid):
        return requests.post(f"{url}&sid={sid}", data="3", timeout=10).status_code == 200

    first, other = open_one("10.0.0.1"), open_one("10.0.0.2")
    assert is_open(first)
    second = open_one("10.0.0.1")

    assert [is_open(first), is_open(second), is_open(other)] == [False, True, True]
