"""How long the server waits for a client: whatever is sent, however slowly, and without end."""

import contextlib
import gc
import socket
import threading
import weakref
from types import SimpleNamespace

import pytest
from serving import Server

from scoreboard import deadlines
from scoreboard.deadlines import (
    AHEAD_SECONDS,
    BODY_SECONDS,
    EXCHANGE_SECONDS,
    HEAD_SECONDS,
    MOST_AHEAD,
    Connection,
)

GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = b"POST /api/score/update HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


class TestAConnection:
    @pytest.fixture
    def clock(self, monkeypatch):
        """Return the time; `slept` tells for how long, and whether another could meanwhile."""
        clock = SimpleNamespace(now=1000.0, slept=[])

        def sleep(seconds):
            clock.slept.append((seconds, not deadlines._one_ahead.locked()))

        time = SimpleNamespace(monotonic=lambda: clock.now, sleep=sleep)
        monkeypatch.setattr(deadlines, "time", time)
        return clock

    @pytest.fixture
    def connection(self, clock):
        return Connection(("127.0.0.1", 1), None, "idle")

    def body(self, position=0, content_length=0, chunk_length=None):
        chunked = chunk_length is not None
        return SimpleNamespace(
            position=position,
            content_length=None if chunked else content_length,
            chunked_input=chunked,
            rfile=None,
            chunk_length=chunk_length,
        )

    def seconds(self, connection):
        """Return how long the connection may be at what it is at."""
        return next(
            seconds
            for seconds in range(1000)
            if connection.is_late(connection.since + seconds + 0.1, HEAD_SECONDS)
        )

    def test_has_its_seconds_for_the_head_of_a_request(self, connection):
        assert self.seconds(connection) == HEAD_SECONDS

    @pytest.mark.parametrize(
        "missing", [{"content_length": 9, "position": 8}, {"chunk_length": 9}, {"chunk_length": -1}]
    )
    def test_has_its_seconds_for_a_body(self, connection, missing):
        connection.await_rest(self.body(**missing))

        assert self.seconds(connection) == BODY_SECONDS

    @pytest.mark.parametrize(
        "whole", [{}, {"content_length": 9, "position": 9}, {"chunk_length": 0}]
    )
    def test_has_its_seconds_for_the_answer(self, connection, whole):
        connection.await_rest(self.body(**whole))

        assert self.seconds(connection) == EXCHANGE_SECONDS

    def test_has_them_anew_for_every_request(self, connection, clock):
        connection.await_rest(self.body())
        clock.now += 40

        connection.await_head()

        assert connection.since == clock.now
        assert self.seconds(connection) == HEAD_SECONDS

    def test_lets_others_go_first_and_those_who_are_ahead_as_well_one_at_a_time(
        self, connection, clock
    ):
        connection.ahead = 1

        connection.await_head()

        assert clock.slept == [(AHEAD_SECONDS, False)]

    def test_waits_for_nobody_if_it_is_not_ahead(self, connection, clock):
        connection.await_head()

        assert clock.slept == []

    def test_holds_up_nobody_who_is_ahead_once_it_was_hung_up_on(self, clock):
        ours, _theirs = socket.socketpair()
        connection = Connection(None, ours, "idle")
        connection.ahead = 1

        connection.hang_up()
        connection.await_head()

        assert clock.slept == []


def test_who_never_has_a_turn_or_was_hung_up_on_meanwhile_is_not_read_but_hung_up_on():
    class Protocol:
        client_address = ("127.0.0.1", 1)
        headers = SimpleNamespace(defects=[], get_all=lambda *_: [], items=lambda: [])

        def __init__(self):
            self.conn_state, self.read = Connection(None, ours, "idle"), 0

        def parse_request(self):
            self.read += 1
            return True

    ours, _theirs = socket.socketpair()
    waits = deadlines.bounded(Protocol, lambda address: waits.conn_state.hang_up() or True)()
    never = deadlines.bounded(Protocol, lambda address: False)()
    goes_on = deadlines.bounded(Protocol, lambda address: True)()

    assert (goes_on.parse_request(), goes_on.read, goes_on.close_connection) == (True, 1, False)
    assert (waits.parse_request(), waits.read) == (False, 0)
    assert (never.parse_request(), never.read, never.close_connection) == (False, 0, True)


def test_a_proxy_ends_idle_connections_itself():
    assert deadlines.head_seconds(proxies=0) == HEAD_SECONDS
    # https://devcenter.heroku.com/articles/http-routing#keepalives
    assert deadlines.head_seconds(proxies=1) > 90


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server"), AUTH_RATE_LIMIT="1/minute")
    yield server
    server.stop()


@pytest.fixture
def connect(server):
    opened = []

    def connect():
        opened.append(socket.create_connection(("127.0.0.1", server.port), timeout=60))
        return opened[-1]

    yield connect
    for client in opened:
        client.close()


def send_without_end(client, data):
    """Send it again and again, until the other side will have no more."""

    def send():
        for _ in range(64 * 1024 * 1024 // len(data)):
            client.sendall(data)

    with pytest.raises(ConnectionError):
        send()


@pytest.mark.parametrize(
    "endless",
    [b"0" * 65536, b"1\r\na\r\n" * 10_000, b"0\r\n" + b"x: y\r\n" * 10_000],
    ids=["the size of a chunk", "chunks", "trailers"],
)
def test_a_body_in_chunks_without_end_ends_the_connection(connect, endless):
    client = connect()
    client.sendall(CHUNKED)

    send_without_end(client, endless)


def test_who_sends_requests_on_top_of_each_other_gets_so_many_answers_and_no_more(connect):
    client = connect()

    client.sendall(GET * 100)
    answers = b""
    with contextlib.suppress(ConnectionResetError):
        while data := client.recv(65536):
            answers += data

    assert answers.count(b"HTTP/1.1 200 OK") == 1 + MOST_AHEAD  # the first was on top of none
    assert answers.count(b"Connection: close") == 1


def test_who_waits_for_each_answer_is_served_for_ever(connect):
    client = connect()

    for _ in range(MOST_AHEAD * 3):
        client.sendall(GET)
        assert client.recv(4096).startswith(b"HTTP/1.1 200")


def test_what_waits_behind_a_sign_in_that_is_refused_is_dropped(connect):
    login = b"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
    answers = []

    for _ in range(2):
        client = connect()
        client.sendall(login * 3)
        answers.append(client.makefile("rb").read())

    assert [answer[:12] for answer in answers] == [b"HTTP/1.1 400", b"HTTP/1.1 429"]
    for answer in answers:
        assert answer.count(b"HTTP/1.1") == 1
        assert b"\r\nConnection: close\r\n" in answer


def test_who_sends_a_body_that_nobody_reads_takes_turns_with_the_others(connect):
    greedy, polite = connect(), connect()
    greedy.sendall(b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000000\r\n\r\n")
    stop = threading.Event()

    def send():
        while not stop.is_set():
            greedy.sendall(bytes(65536))

    sending = threading.Thread(target=send)
    sending.start()

    for _ in range(100):
        polite.sendall(GET)
        assert polite.recv(4096).startswith(b"HTTP/1.1 200")

    assert sending.is_alive()
    stop.set()
    sending.join(30)


def test_the_idlest_make_room_when_there_is_none_left(tmp_path):
    files = 400  # of which the server keeps some hundreds for itself, so that 200 are for clients
    server = Server(tmp_path, most_files=files)
    idle = [socket.create_connection(("127.0.0.1", server.port), timeout=10) for _ in range(files)]

    assert server.top10() == []

    assert idle[0].recv(1) == b""
    for client in idle:
        client.close()
    server.stop()


@pytest.fixture
def without_garbage_collection():
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("without_garbage_collection")
def test_what_was_answered_is_let_go_of_at_once():
    handler = type("Handler", (), {})()
    handler.server, handler.conn_state, handler.rfile = SimpleNamespace(app=None), None, None
    handler.environ = {"what knows the handler": handler}
    there = weakref.ref(handler)

    deadlines._answer(handler, lambda: None)
    del handler

    assert there() is None


def answer_to(client, head, body=b""):
    client.sendall(head.replace(b"\n", b"\r\n") + b"\r\n\r\n" + body)
    answer = b""
    while data := client.recv(65536):
        answer += data
    return answer


POST = b"POST /api/score/update HTTP/1.1\nHost: x\n"


@pytest.mark.parametrize(
    "head",
    [
        b"GET /ws/scoreboard?token=a-secret HTTP/9.9",
        b"GET /ws/scoreboard?token=a-secret and more HTTP/1.1",
        b"GET /\x80\x80\x80 and more HTTP/1.1",
        POST + b"Content-Length: +5",
        POST + b"Content-Length: 1_0",
        POST + b"Content-Length: 5\nContent-Length: 6",
        POST + b"Transfer-Encoding: xchunked",
        POST + b"Transfer-Encoding : chunked",
        POST + b"Transfer-Encoding: chunked\nTransfer-Encoding: chunked",
        POST + b"Transfer-Encoding: \x0bchunked",
        POST + b"no colon\nContent-Length: 5",
        b"OPTIONS /api/score/update HTTP/1.1\nOrigin: http://a\n b",
    ],
    ids=repr,
)
def test_a_head_that_can_be_read_in_two_ways_is_refused_and_not_told_back(server, connect, head):
    answer = answer_to(connect(), head, b"hello")

    status, _, told = answer.partition(b"\r\n")
    assert status.split()[1][:1] in (b"4", b"5")
    assert b'"code":"bad_request"' in told
    assert len(answer) < 400
    assert b"a-secret" not in answer
    assert "a-secret" not in server.log()


@pytest.mark.parametrize("size", [b"-1", b"+5"])
def test_a_chunk_of_a_size_that_is_none_ends_the_connection(connect, size):
    client = connect()
    client.sendall(CHUNKED + size + b"\r\nhello\r\n0\r\n\r\n" + GET)
    answer = b""
    while data := client.recv(65536):
        answer += data

    assert answer.startswith(b"HTTP/1.1 400")
    assert answer.count(b"HTTP/1.1") == 1
