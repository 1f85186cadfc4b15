"""A webhook reaches public addresses only, unless the operator allows others."""

import socket

import pytest

from scoreboard.concurrency import runtime
from scoreboard.webhooks import sender
from scoreboard.webhooks.addresses import is_public
from tests.support.receivers import Receiver

HEADERS = {"webhook-id": "msg_1"}


@pytest.fixture
def receiver():
    receiver = Receiver().open()
    yield receiver
    receiver.close()


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1"),
        *("169.254.169.254", "100.64.0.1", "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1"),
        *("255.255.255.255", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254"),
        *("ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "2001:db8::1"),
        *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::808:808", "2002:7f00:1::"),
        *("2001:0:53aa:64c:0:ffff:80ff:fffe", "fec0::1", "100::1"),
    ],
)
def test_an_address_that_is_not_public_is_refused(address):
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"],
)
def test_a_public_address_is_accepted(address):
    assert is_public(address)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "127.1", "[::ffff:127.0.0.1]"]
)
def test_a_host_that_resolves_to_a_private_address_is_refused(receiver, host):
    with pytest.raises(sender.NotSent, match="no public address"):
        sender.post(f"http://{host}:{receiver.port}/", b"{}", HEADERS, allow_private=False)

    assert receiver.requests == []


def test_a_name_with_public_and_private_addresses_is_sent_only_to_public_ones(
    receiver, monkeypatch
):
    found = ["127.0.0.1", "8.8.8.8", "::1"]
    connected = []
    monkeypatch.setattr(runtime, "resolve", lambda *_: found)
    monkeypatch.setattr(sender, "_post", lambda address, *_: connected.append(address))

    sender.post(f"http://hooks.example:{receiver.port}/", b"{}", HEADERS, allow_private=False)

    assert connected == ["8.8.8.8"]


def test_the_connection_is_to_the_address_that_was_checked(receiver, monkeypatch):
    monkeypatch.setattr(runtime, "resolve", lambda *_: ["127.0.0.1"])

    def resolve_again(host, *arguments, **options):
        assert host == "127.0.0.1", "the name is resolved a second time"
        return original(host, *arguments, **options)

    original = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", resolve_again)

    url = f"http://hooks.example:{receiver.port}/a?b=c"
    assert sender.post(url, b"{}", HEADERS, allow_private=True) == (204, 0)

    (request,) = receiver.requests
    assert (request.path, request.body) == ("/a?b=c", b"{}")
    assert request.headers["Host"] == f"hooks.example:{receiver.port}"
    assert request.headers["webhook-id"] == "msg_1"


def test_the_next_address_is_used_if_a_connection_fails(receiver, monkeypatch):
    monkeypatch.setattr(runtime, "resolve", lambda *_: ["::1", "127.0.0.1"])

    assert sender.post(f"http://h.example:{receiver.port}/", b"", {}, True) == (204, 0)


def test_a_redirect_is_not_followed(receiver):
    receiver.status, receiver.response_headers = 302, {"Location": f"{receiver.url}/other"}

    assert sender.post(receiver.url, b"{}", HEADERS, allow_private=True) == (302, 0)

    assert [request.path for request in receiver.requests] == ["/hook"]


@pytest.mark.parametrize(
    ("text", "seconds"), [("7", 7), ("99999", 600), ("soon", 0), ("-1", 0), ("9" * 5000, 0)]
)
def test_the_receiver_may_ask_for_a_later_attempt(receiver, text, seconds):
    receiver.status, receiver.response_headers = 429, {"Retry-After": text}

    assert sender.post(receiver.url, b"{}", HEADERS, allow_private=True) == (429, seconds)


def test_a_receiver_that_is_down_is_an_error_without_the_url():
    with pytest.raises(sender.NotSent) as refused:
        sender.post(f"{Receiver().url}/secret", b"{}", HEADERS, allow_private=True)

    assert str(refused.value) == "the connection failed"
