"""The HTTP server of `python wsgi.py`, as its clients observe it."""

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
from types import SimpleNamespace

import pytest
import requests

from scoreboard.http.refusal_limiter import BLOCK_TIME, MAX_REFUSALS, RefusalLimiter
from scoreboard.server.connection import (
    BODY_TIMEOUT,
    CLOSE_TIMEOUT,
    EXCHANGE_TIMEOUT,
    MAX_PIPELINED,
    HttpConnection,
)
from scoreboard.server.listener import HEAD_TIMEOUT
from tests.support.servers import ROOT, SECRETS, Server

GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
TOP_10 = b"GET /api/score/top10 HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
LOGIN = b"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n"
UPDATE = b"POST /api/score/update HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
CHUNKED_UPDATE = UPDATE + b"Transfer-Encoding: chunked\r\n\r\n"
UNUSUAL_REQUESTS = [
    CHUNKED_UPDATE + b"ff\r\n{}",
    CHUNKED_UPDATE + b"2\r\n{}\r\n",
    CHUNKED_UPDATE + b"2;a=" + b"b" * 9000 + b"\r\n{}\r\n0\r\n\r\n",
    CHUNKED_UPDATE + b"2\r\n{}\r\n0\r\nA: b\r\nContent-Length: 5\r\n\r\n",
    UPDATE + b"Content-Length: 50\r\n\r\n{}",
    UPDATE + b"Expect: 200-ok\r\nContent-Length: 2\r\n\r\n{}",
    UPDATE + b"Authorization: Bearer \xff\xfe\x00\r\nContent-Length: 2\r\n\r\n{}",
    UPDATE + b"Authorization: Bearer \xff\xfe\r\nContent-Length: 2\r\n\r\n{}",
    b'GET /api/score/top10 HTTP/1.0\r\nIf-None-Match: "\xff", W/\r\n\r\n',
    b"GET /\xff\xfe?\xff=\xfe HTTP/1.0\r\n\r\n",
    b"GET /api/leaderboard?page=\xff HTTP/1.0\r\n\r\n",
    b"GET /web/%00%ff/..%2f..%2fconfig.py HTTP/1.0\r\n\r\n",
    b"GET http://[/api/score/top10 HTTP/1.0\r\n\r\n",
    b"GET /api/score/top10\r\n",
    b"\r\n\r\n\r\n",
]
HANDSHAKE = (
    "GET /ws/scoreboard?token={} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
    "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.stop()


@pytest.fixture
def small_server(tmp_path):
    """Return a server for 100 connections, 50 per address, of which 37 may be live."""
    server = Server(tmp_path, max_open_files=156)
    yield server
    server.stop()


@pytest.fixture
def connect():
    """Return a function that connects to a server from an address."""
    with contextlib.ExitStack() as stack:

        def connect(server, address="127.0.0.1"):
            return stack.enter_context(
                socket.create_connection(
                    ("127.0.0.1", server.port), timeout=30, source_address=(address, 0)
                )
            )

        yield connect


@pytest.fixture
def client(connect, server):
    return connect(server)


def read_all(client):
    """Return everything until the server closes the connection."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while part := client.recv(65536):
            data += part
    return data


def read_response(client):
    """Return status, headers and body of the next response."""
    response = http.client.HTTPResponse(client)
    response.begin()
    return response.status, response.headers, response.read()


def statuses(data):
    return [int(response[:3]) for response in data.split(b"HTTP/1.1 ")[1:]]


def viewer_token(server):
    return requests.post(f"{server.url}/api/auth/viewer", timeout=10).json()["access_token"]


def test_a_connection_is_kept_for_further_requests(client):
    for _ in range(3):
        client.sendall(GET)
        status, headers, body = read_response(client)

        assert (status, json.loads(body)) == (200, {"status": "ok"})
        assert "connection" not in headers
        assert headers["date"].endswith("GMT")


def test_a_connection_closes_at_the_request_of_the_client(client):
    client.sendall(LAST)

    assert b"\r\nConnection: close\r\n" in read_all(client)


@pytest.mark.parametrize(
    ("headers", "connection"), [(b"", "close"), (b"Connection: keep-alive\r\n", "keep-alive")]
)
def test_http_1_0_keeps_a_connection_only_on_request(client, headers, connection):
    client.sendall(b"GET /healthz HTTP/1.0\r\n%b\r\n" % headers)

    status, headers, _ = read_response(client)

    assert (status, headers["connection"]) == (200, connection)


def test_any_number_of_pipelined_requests_is_answered_in_order(client):
    unchanged = TOP_10.replace(b"Host", b"If-None-Match: *\r\nHost")
    pairs = MAX_PIPELINED * 20

    client.sendall((GET + unchanged) * pairs + LAST)

    assert statuses(read_all(client)) == [200, 304] * pairs + [200]


def test_a_client_that_pipelines_does_not_block_others(client, connect, server):
    greedy = connect(server)
    greedy.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        for _ in range(100):
            greedy.send(TOP_10 * 1000)

    for _ in range(20):
        client.sendall(GET)

        assert read_response(client)[0] == 200


def test_a_response_to_head_has_no_body(client):
    client.sendall(LAST.replace(b"GET", b"HEAD"))

    head, _, body = read_all(client).partition(b"\r\n\r\n")

    assert b"Content-Length: 15" in head
    assert body == b""


def test_the_server_sends_100_continue_on_request(client):
    client.sendall(LOGIN + b"Expect: 100-continue\r\n\r\n")

    assert client.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.sendall(b"{}")
    assert read_response(client)[0] == 400


def test_a_refused_request_ends_the_connection_with_the_error_shape(client):
    client.sendall(GET + b"GET /ws?token=a-secret HTTP/1.1\r\n\r\n" + GET)

    data = read_all(client)

    assert statuses(data) == [200, 400]
    head, _, body = data[data.index(b"HTTP/1.1 400") :].partition(b"\r\n\r\n")
    assert json.loads(body)["error"]["code"] == "bad_request"
    assert b"Connection: close" in head
    assert b"X-Content-Type-Options: nosniff" in head
    assert b"a-secret" not in data


def test_a_body_larger_than_any_endpoint_accepts_is_refused(client):
    client.sendall(b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000000\r\n\r\n")

    status, _, body = read_response(client)

    assert status == 400
    assert "at most 256 KiB" in json.loads(body)["error"]["message"]


@pytest.mark.parametrize("data", UNUSUAL_REQUESTS, ids=lambda data: repr(data[-40:]))
def test_an_unusual_request_causes_no_500_and_no_logged_error(client, server, data):
    before = len(server.log())

    client.sendall(data)
    client.shutdown(socket.SHUT_WR)

    response = read_all(client)
    assert b" 500 " not in response.partition(b"\r\n")[0]
    assert len(response) < 20_000
    assert server.top10() == []
    assert "ERROR" not in server.log()[before:]
    assert "Traceback" not in server.log()[before:]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (b"Upgrade: h2c\r\nConnection: Upgrade\r\n", [200]),
        (b"Upgrade: websocket\r\nConnection: Upgrade\r\n", [400]),
        (b"Upgrade: h2c\r\n", [200, 200]),
    ],
)
def test_nothing_is_read_after_a_refused_upgrade(client, headers, expected):
    client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n%b\r\n" % headers + LAST)

    assert statuses(read_all(client)) == expected


def test_a_missing_upgrade_is_named_in_the_connection_header(client):
    client.sendall(b"GET /ws/scoreboard HTTP/1.1\r\nHost: x\r\n\r\n")

    status, headers, _ = read_response(client)

    assert (status, headers["connection"], headers["upgrade"]) == (426, "Upgrade", "websocket")


def test_frames_sent_with_the_handshake_are_read(client, server):
    ping, pong = bytes([0x89, 0x80, 0, 0, 0, 0]), b"\x8a\x00"

    client.sendall(HANDSHAKE.format(viewer_token(server)).encode() + ping)
    received = b""
    while pong not in received:
        received += client.recv(4096)

    assert received.startswith(b"HTTP/1.1 101")


def test_a_failed_login_ends_the_connection(client):
    client.sendall((LOGIN + b"\r\n{}") * 3)

    data = read_all(client)

    assert statuses(data) == [400]
    assert data.count(b"Connection: close") == 1


def test_an_address_with_too_many_refusals_is_blocked(client, connect, server):
    request = b"GET /api/auth/me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\n\r\n"
    attacker = connect(server, "127.0.0.7")
    attacker.sendall(request * (MAX_REFUSALS + 10))

    assert statuses(read_all(attacker)) == [401] * (MAX_REFUSALS + 1)
    assert read_all(connect(server, "127.0.0.7")) == b""
    client.sendall(GET)
    assert read_response(client)[0] == 200


def test_a_block_ends_in_time(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("scoreboard.http.refusal_limiter.time.monotonic", lambda: now[0])
    limiter = RefusalLimiter()

    for _ in range(MAX_REFUSALS):
        limiter.count("192.0.2.1")
    assert not limiter.is_blocked("192.0.2.1")
    limiter.count("192.0.2.1")
    assert limiter.is_blocked("192.0.2.1")
    assert not limiter.is_blocked("192.0.2.2")
    now[0] += BLOCK_TIME + 1

    limiter.count("192.0.2.1")
    assert not limiter.is_blocked("192.0.2.1")


def test_idle_connections_are_closed_for_new_ones(small_server, connect):
    idle = [connect(small_server) for _ in range(120)]

    assert small_server.top10() == []
    assert idle[0].recv(1) == b""
    other = connect(small_server, "127.0.0.9")
    other.sendall(GET)
    assert read_response(other)[0] == 200


def test_refused_subscribers_of_an_address_do_not_block_its_requests(small_server, connect):
    handshake = HANDSHAKE.format(viewer_token(small_server)).encode()
    for _ in range(60):
        subscriber = connect(small_server)
        subscriber.sendall(handshake)
        assert subscriber.recv(4096).startswith((b"HTTP/1.1 101", b"HTTP/1.1 429"))

    assert small_server.top10() == []


@pytest.mark.parametrize(
    ("state", "timeout"),
    [
        ({}, HEAD_TIMEOUT),
        ({"expects_body": True}, BODY_TIMEOUT),
        ({"_processing": True}, EXCHANGE_TIMEOUT),
        ({"_output": b"x"}, EXCHANGE_TIMEOUT),
        ({"_closing": True}, CLOSE_TIMEOUT),
    ],
    ids=["head", "body", "processing", "sending", "closing"],
)
def test_every_state_of_a_connection_has_a_timeout(state, timeout):
    connection = SimpleNamespace(
        **{"_closing": False, "_processing": False, "_output": b"", "since": 1.0, **state},
        _reader=SimpleNamespace(expects_body=state.get("expects_body", False)),
        _listener=SimpleNamespace(head_timeout=HEAD_TIMEOUT),
    )
    connection.is_responding = HttpConnection.is_responding.fget(connection)

    assert not HttpConnection.is_timed_out(connection, 1.0 + timeout)
    assert HttpConnection.is_timed_out(connection, 1.1 + timeout)


@pytest.mark.parametrize(
    ("host", "reason"), [("127.0.0.1", "Address already in use"), ("no host", "")]
)
def test_an_address_that_cannot_be_used_stops_the_start_in_one_line(tmp_path, host, reason):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        environment = {"PATH": os.environ["PATH"], "HOST": host, "PORT": str(port), **SECRETS}

        process = subprocess.run(
            [sys.executable, "wsgi.py"],
            cwd=ROOT,
            env={**environment, "DATABASE_URL": f"sqlite:///{tmp_path}/scoreboard.db"},
            capture_output=True,
            text=True,
            timeout=60,
        )

    assert process.returncode == 1
    [line] = process.stderr.splitlines()
    assert line.startswith(f"scoreboard: cannot listen on {host} port {port}: ")
    assert line.endswith(reason)


def test_without_a_host_all_addresses_are_served(server):
    assert requests.get(f"http://127.0.0.1:{server.port}/healthz", timeout=10).ok
    assert f"serving on http://0.0.0.0:{server.port}\n" in server.log()
    with contextlib.suppress(OSError):  # a machine without IPv6
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        assert requests.get(f"http://[::1]:{server.port}/healthz", timeout=10).ok
        assert f"serving on http://[::]:{server.port}\n" in server.log()


def test_with_a_host_only_its_address_is_served(tmp_path):
    server = Server(tmp_path, HOST="127.0.0.1")
    try:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", server.port), timeout=10)
    finally:
        server.stop()


def test_the_addresses_to_open_are_printed(server):
    lines = server.log().splitlines()

    assert f"Open http://127.0.0.1:{server.port}" in lines
    for line in lines:
        if line.endswith(" from this network"):
            address = line.removeprefix("  or ").removesuffix(" from this network")
            assert requests.get(f"{address}/healthz", timeout=10).ok


@pytest.mark.parametrize("settings", [{"DYNO": "web.1"}, {"TRUSTED_PROXIES": "1"}])
def test_behind_a_proxy_no_address_is_printed(start, settings):
    server = start(ALLOW_SQLITE="1", **settings)

    assert not [line for line in server.log().splitlines() if line.startswith("Open ")]


def test_a_server_without_an_admin_prints_the_link_of_the_first(start):
    server = start()
    (line,) = [line for line in server.log().splitlines() if "/admin#reset=" in line]

    base, _, token = line.strip().partition("/admin#reset=")
    body = {"token": token, "new_password": "correct horse"}

    assert base == f"http://127.0.0.1:{server.port}"
    assert requests.post(f"{base}/api/auth/reset", json=body, timeout=10).status_code == 204
    server.stop()
    server.start()
    assert server.log().count("#reset=") == 1
