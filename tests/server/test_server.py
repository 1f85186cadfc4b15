"""The HTTP server of `python wsgi.py`: what a client observes of its connections."""

import contextlib
import json
import os
import socket
import subprocess
import sys

import pytest
import requests

from scoreboard.http.refusal_limiter import MAX_REFUSALS, RefusalLimiter
from scoreboard.server.connection import (
    BODY_TIMEOUT,
    CLOSE_TIMEOUT,
    EXCHANGE_TIMEOUT,
    MAX_PIPELINED,
    HttpConnection,
)
from scoreboard.server.listener import HEAD_TIMEOUT, HEAD_TIMEOUT_BEHIND_PROXY
from tests.support.servers import ROOT, Server, free_port
from tests.support.waiting import wait_until

GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
TOP_10 = b"GET /api/score/top10 HTTP/1.1\r\nHost: x\r\n\r\n"
CLOSE = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.stop()


@pytest.fixture
def connect(server):
    """Return a function that connects, from an address if one is given."""
    with contextlib.ExitStack() as stack:

        def connect(address="127.0.0.1"):
            client = socket.create_connection(
                ("127.0.0.1", server.port), timeout=30, source_address=(address, 0)
            )
            return stack.enter_context(client)

        yield connect


def read_all(client):
    """Return everything until the server closes the connection."""
    answer = b""
    with contextlib.suppress(ConnectionResetError):
        while data := client.recv(65536):
            answer += data
    return answer


def read_response(client):
    """Return status, headers and body of the next response."""
    file = client.makefile("rb")
    status = int(file.readline().split()[1])
    headers = {}
    while (line := file.readline().strip()) != b"":
        name, _, value = line.decode().partition(": ")
        headers[name.lower()] = value
    return status, headers, file.read(int(headers.get("content-length", 0)))


def test_a_connection_is_kept_for_the_next_request(connect):
    client = connect()

    for _ in range(3):
        client.sendall(GET)
        status, headers, body = read_response(client)

        assert (status, json.loads(body)) == (200, {"status": "ok"})
        assert "connection" not in headers
        assert headers["date"].endswith("GMT")


def test_a_connection_ends_when_the_client_says_so(connect):
    client = connect()

    client.sendall(CLOSE)

    assert b"\r\nConnection: close\r\n" in read_all(client)


@pytest.mark.parametrize("keep_alive", [False, True])
def test_http_1_0_keeps_a_connection_only_if_asked(connect, keep_alive):
    client = connect()
    client.sendall(
        b"GET /healthz HTTP/1.0\r\n" + b"Connection: keep-alive\r\n" * keep_alive + b"\r\n"
    )

    status, headers, _ = read_response(client)

    assert status == 200
    assert headers["connection"] == ("keep-alive" if keep_alive else "close")


def test_pipelined_requests_are_answered_in_order(connect):
    client = connect()
    paths = [b"/healthz", b"/api/score/top10", b"/nowhere", b"/healthz"]

    client.sendall(b"".join(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path for path in paths) + CLOSE)
    answers = read_all(client)

    statuses = [answer[:3] for answer in answers.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"200", b"200", b"404", b"200", b"200"]


def test_more_requests_than_are_read_ahead_are_answered_all(connect):
    client = connect()
    count = MAX_PIPELINED * 40

    client.sendall(GET * count + CLOSE)

    assert read_all(client).count(b"HTTP/1.1 200") == count + 1


def test_others_are_served_while_a_client_pipelines(connect):
    greedy, polite = connect(), connect()
    greedy.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        for _ in range(100):
            greedy.send(TOP_10 * 1000)

    for _ in range(20):
        polite.sendall(GET)

        assert read_response(polite)[0] == 200


def test_head_has_the_headers_and_no_body(connect):
    client = connect()
    client.sendall(b"HEAD /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")

    head, _, body = read_all(client).partition(b"\r\n\r\n")

    assert b"Content-Length: 15" in head
    assert body == b""


def test_the_body_is_asked_for_when_the_client_waits_for_that(connect, server):
    client = connect()
    head = b"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n"

    client.sendall(head + b"Expect: 100-continue\r\n\r\n")

    assert client.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.sendall(b"{}")
    assert read_response(client)[0] == 400


def test_a_request_that_is_refused_by_the_server_has_the_error_shape(connect):
    client = connect()

    client.sendall(GET + b"GET /ws?token=a-secret HTTP/1.1\r\n\r\n" + GET)
    answers = read_all(client).split(b"HTTP/1.1 ")[1:]

    assert [answer[:3] for answer in answers] == [b"200", b"400"]
    head, _, body = answers[1].partition(b"\r\n\r\n")
    assert json.loads(body)["error"]["code"] == "bad_request"
    assert b"Connection: close" in head
    assert b"X-Content-Type-Options: nosniff" in head
    assert b"a-secret" not in answers[1]


def test_a_body_larger_than_any_endpoint_takes_is_refused(connect):
    client = connect()
    client.sendall(b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000000\r\n\r\n")

    status, _, body = read_response(client)

    assert status == 400
    assert "at most 256 KiB" in json.loads(body)["error"]["message"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ("Upgrade: h2c\r\nConnection: Upgrade\r\n", 200),
        ("Upgrade: websocket\r\nConnection: Upgrade\r\n", 400),
        ("Upgrade: h2c\r\n", 200),
    ],
)
def test_an_upgrade_that_is_not_taken_is_answered_and_nothing_after_it_read(
    connect, headers, status
):
    client = connect()

    client.sendall(f"GET /healthz HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode() + CLOSE)
    answers = read_all(client)

    assert answers.startswith(b"HTTP/1.1 %d" % status)
    assert answers.count(b"HTTP/1.1") == (1 if "Connection" in headers else 2)


def test_frames_sent_with_the_handshake_are_read(connect, server):
    token = requests.post(f"{server.url}/api/auth/viewer", timeout=10).json()["access_token"]
    client = connect()
    ping = bytes([0x89, 0x80, 0, 0, 0, 0])

    client.sendall(
        b"GET /ws/scoreboard?token=%b HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n" % token.encode() + ping
    )
    received = b""
    while b"\x8a\x00" not in received:
        received += client.recv(4096)

    assert received.startswith(b"HTTP/1.1 101")


def test_a_client_that_has_gone_leaves_no_file_open(server, connect):
    def files():
        return len(os.listdir(f"/proc/{server.process.pid}/fd"))

    connect().sendall(GET)
    before = files()

    for _ in range(30):
        client = socket.create_connection(("127.0.0.1", server.port))
        client.sendall(TOP_10 * 5 + TOP_10[:20])
        client.close()

    wait_until(lambda: files() <= before + 1)
    assert "Traceback" not in server.log()


def test_a_request_that_has_to_upgrade_says_so_in_its_connection_header(connect):
    client = connect()
    client.sendall(b"GET /ws/scoreboard HTTP/1.1\r\nHost: x\r\n\r\n")

    status, headers, _ = read_response(client)

    assert (status, headers["connection"], headers["upgrade"]) == (426, "Upgrade", "websocket")


def test_a_refused_sign_in_is_the_last_response_of_its_connection(connect):
    client = connect()
    login = b"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"

    client.sendall(login * 3)
    answers = read_all(client)

    assert answers.count(b"HTTP/1.1") == 1
    assert answers.count(b"Connection: close") == 1


def test_an_address_that_is_refused_again_and_again_gets_no_connection_for_a_while(connect, server):
    guess = b"GET /api/auth/me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\n\r\n"
    guessing = connect("127.0.0.7")
    guessing.sendall(guess * (MAX_REFUSALS + 10))
    answers = read_all(guessing)

    refused_at_accept = read_all(connect("127.0.0.7"))

    assert answers.count(b"HTTP/1.1 401") == MAX_REFUSALS + 1
    assert refused_at_accept == b""
    polite = connect()
    polite.sendall(GET)
    assert read_response(polite)[0] == 200


def test_the_limiter_forgets_refusals_and_blocks_in_time(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("scoreboard.http.refusal_limiter.time.monotonic", lambda: now[0])
    limiter = RefusalLimiter()

    for _ in range(MAX_REFUSALS):
        limiter.count("192.0.2.1")
    assert not limiter.is_blocked("192.0.2.1")
    limiter.count("192.0.2.1")
    assert limiter.is_blocked("192.0.2.1")
    assert not limiter.is_blocked("192.0.2.2")
    now[0] += 11

    assert not limiter.is_blocked("192.0.2.1")
    limiter.count("192.0.2.1")
    assert not limiter.is_blocked("192.0.2.1")


def test_idle_connections_of_one_address_make_room_for_new_ones(tmp_path):
    server = Server(tmp_path, most_files=156)  # room for 100 connections, 50 of one address
    try:
        idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(120)]

        assert server.top10() == []
        assert idle[0].recv(1) == b""
        elsewhere = socket.create_connection(
            ("127.0.0.1", server.port), source_address=("127.0.0.9", 0)
        )
        elsewhere.sendall(GET)
        assert read_response(elsewhere)[0] == 200
    finally:
        server.stop()


def test_refused_viewers_of_an_address_leave_room_for_its_requests(tmp_path):
    server = Server(tmp_path, most_files=156)  # room for 50 connections of one address, 37 live
    try:
        token = requests.post(f"{server.url}/api/auth/viewer", timeout=10).json()["access_token"]
        handshake = (
            f"GET /ws/scoreboard?token={token} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        viewers = []
        for _ in range(60):
            viewers.append(socket.create_connection(("127.0.0.1", server.port), timeout=10))
            viewers[-1].sendall(handshake.encode())
            assert viewers[-1].recv(4096).startswith((b"HTTP/1.1 101", b"HTTP/1.1 429"))

        assert server.top10() == []
    finally:
        server.stop()


class TestTimeouts:
    """How long a connection may be at what it is at, in seconds."""

    def timeout(self, behind_proxy=False, **state):
        """Return after how many seconds a connection in this state is closed."""
        reader = type("Reader", (), {"in_request": False, "expects_body": False})()
        connection = HttpConnection.__new__(HttpConnection)
        connection._closing, connection._output = state.get("closing", False), b""
        connection._processing = state.get("answering", False)
        reader.expects_body = state.get("body", False)
        connection._reader, connection.since = reader, 0.0
        seconds = HEAD_TIMEOUT_BEHIND_PROXY if behind_proxy else HEAD_TIMEOUT
        connection._listener = type("Listener", (), {"head_timeout": seconds})()
        return next(second for second in range(1000) if connection.is_timed_out(second + 0.1))

    def test_for_a_head(self):
        assert self.timeout() == HEAD_TIMEOUT

    def test_for_a_head_behind_a_proxy_which_closes_idle_connections_itself(self):
        # https://devcenter.heroku.com/articles/http-routing#keepalives
        assert self.timeout(behind_proxy=True) > 90

    def test_for_a_body(self):
        assert self.timeout(body=True) == BODY_TIMEOUT

    def test_for_a_response(self):
        assert self.timeout(answering=True) == EXCHANGE_TIMEOUT

    def test_for_a_client_that_goes_on_sending_after_the_last_response(self):
        assert self.timeout(closing=True) == CLOSE_TIMEOUT


def run(**environment):
    return subprocess.run(
        [sys.executable, "wsgi.py"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


class TestListening:
    @pytest.fixture
    def environment(self, tmp_path):
        return {
            "DATABASE_URL": f"sqlite:///{tmp_path}/scoreboard.db",
            "SECRET_KEY": "seasonal" * 6,
            "JWT_SECRET_KEY": "journals" * 6,
        }

    def test_a_port_that_is_taken_stops_the_start_in_one_line(self, environment):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]

            done = run(**environment, HOST="127.0.0.1", PORT=str(port))

        assert done.returncode == 1
        assert done.stderr.strip() == (
            f"scoreboard: cannot listen on 127.0.0.1 port {port}: Address already in use"
        )

    def test_an_address_that_is_none_stops_the_start_in_one_line(self, environment):
        done = run(**environment, HOST="no host", PORT=str(free_port()))

        assert done.returncode == 1
        assert done.stderr.startswith("scoreboard: cannot listen on no host port ")
        assert len(done.stderr.splitlines()) == 1

    def test_with_a_port_all_addresses_are_served(self, server):
        assert requests.get(f"http://127.0.0.1:{server.port}/healthz", timeout=10).ok
        with contextlib.suppress(OSError):
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
            assert requests.get(f"http://[::1]:{server.port}/healthz", timeout=10).ok

    def test_with_a_host_only_this_address_is_served(self, tmp_path):
        server = Server(tmp_path, HOST="127.0.0.1")
        try:
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.2", server.port), timeout=10)
        finally:
            server.stop()
