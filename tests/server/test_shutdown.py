"""Graceful shutdown: accepted requests are answered, WebSockets are closed with code 1012."""

import contextlib
import http.client
import itertools
import json
import signal
import socket
import threading
import uuid

import pytest
import requests
import websocket
from socketio.exceptions import BadNamespaceError
from sqlalchemy import select

from config import Config
from scoreboard import create_app
from scoreboard.db import transactions
from scoreboard.models import Score
from tests.support import databases
from tests.support.servers import SECRETS, Server
from tests.support.subscribers import NodeClient, SocketIoClient, WebSocketClient
from tests.support.waiting import wait_until

WRITERS = 8


@pytest.fixture
def database_url(tmp_path, request):
    if request.param == "postgres":
        return databases.new_database()
    return f"sqlite:///{tmp_path}/scoreboard.db"


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path)
    yield server
    server.stop()


def recorded_nonces(url):
    app = create_app(Config.from_environment({**SECRETS, "DATABASE_URL": url}))
    with app.app_context():
        rows = transactions.read(lambda c: c.execute(select(Score.identity)).scalars().all())
    assert len(rows) == len(set(rows))
    return set(rows)


class Writers:
    """Threads that send updates until the server stops: by HTTP and by Socket.IO.

    `accepted` are the nonces answered with 200, `unanswered` those without an answer, and
    `refusals` the codes of all other answers.
    """

    def __init__(self, server, users):
        self.server = server
        self.accepted, self.unanswered, self.refusals = [], [], []
        self.busy = threading.Event()
        protocols = itertools.cycle([self._send_http, self._send_http_keep_alive, self._emit])
        self._threads = [
            threading.Thread(target=self._run, args=(send, person))
            for person, send in zip(users, protocols, strict=False)
        ]
        for thread in self._threads:
            thread.start()

    def join(self):
        for thread in self._threads:
            thread.join(20)
            assert not thread.is_alive()

    def _run(self, protocol, person):
        updates = (person.update(value, nonce=uuid.uuid4().hex) for value in itertools.count())
        for nonce, status, body in protocol(person, updates):
            if status is None:
                self.unanswered.append(nonce)
            elif status != 200:
                self.refusals.append(body["error"]["code"])
            else:
                self.accepted.append(nonce)
                if len(self.accepted) > 200:
                    self.busy.set()
                continue
            return

    def _send_http(self, person, updates, **headers):
        headers = {"Connection": "close", **person.bearer, **headers}
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=20)
        for update in updates:
            try:
                if connection.sock is None:
                    connection.connect()
            except ConnectionRefusedError:
                return
            try:
                connection.request("POST", "/api/score/update", json.dumps(update), headers)
                response = connection.getresponse()
                yield update["nonce"], response.status, json.loads(response.read())
            except (OSError, http.client.HTTPException):
                yield update["nonce"], None, None

    def _send_http_keep_alive(self, person, updates):
        return self._send_http(person, updates, Connection="keep-alive")

    def _emit(self, person, updates):
        viewer = SocketIoClient(self.server.url, person.token)
        with contextlib.closing(viewer):
            for update in updates:
                answers = []
                try:
                    viewer.client.emit("update_score", update, callback=answers.append)
                except BadNamespaceError:  # closed since the last answer: nothing was sent
                    return
                wait_until(lambda answers=answers: answers or viewer.ended.is_set())
                answer = answers[0] if answers else {"status": None, "body": None}
                yield update["nonce"], answer["status"], answer["body"]


@pytest.mark.parametrize("database_url", ["sqlite", "postgres"], indirect=True)
def test_a_shutdown_under_load_answers_every_recorded_update(tmp_path, closing, database_url):
    server = Server(tmp_path, DATABASE_URL=database_url)
    try:
        users = [server.user(f"Player-{number}") for number in range(WRITERS)]
        plain = [closing(WebSocketClient(server.url, users[0].token)) for _ in range(5)]
        sockets = [
            closing(SocketIoClient(server.url, users[0].token, [transport]))
            for transport in ("websocket", "polling")
        ]
        writers = Writers(server, users)
        assert writers.busy.wait(60)

        server.process.send_signal(signal.SIGTERM)

        assert server.process.wait(10) == 0
        writers.join()
        assert all(viewer.ended.wait(5) for viewer in [*plain, *sockets])
        assert {viewer.code for viewer in plain} == {1012}
        assert set(writers.refusals) <= {"stopping"}
        recorded = recorded_nonces(database_url)
        assert set(writers.accepted) <= recorded
        assert not set(writers.unanswered) & recorded
    finally:
        server.stop()


def test_socket_io_over_websocket_is_closed_with_1012(server):
    url = server.url.replace("http", "ws") + "/ws/scoreboard/?EIO=4&transport=websocket"
    viewer = websocket.create_connection(url, timeout=10)
    viewer.send("40" + json.dumps({"token": server.user("Ann").token}))
    while not viewer.recv().startswith("42"):
        pass

    server.process.send_signal(signal.SIGTERM)

    opcode, data = viewer.recv_data()
    assert (opcode, int.from_bytes(data[:2], "big")) == (websocket.ABNF.OPCODE_CLOSE, 1012)


@pytest.mark.parametrize("transports", ["websocket", "polling"])
def test_the_javascript_client_may_reconnect(server, closing, transports):
    viewer = closing(NodeClient(server.url, server.user("Ann").token, transports))
    viewer.wait_for_event("top_10_update")

    server.process.send_signal(signal.SIGTERM)

    # After "io server disconnect" it would not reconnect by itself.
    assert viewer.wait_for_event("disconnect") in ("transport close", "transport error")
    assert server.process.wait(10) == 0


def test_idle_connections_do_not_delay_the_shutdown(server):
    with (
        requests.Session() as kept,
        socket.create_connection(("127.0.0.1", server.port)),
    ):
        kept.get(f"{server.url}/api/score/top10", timeout=10)

        server.process.send_signal(signal.SIGINT)

        assert server.process.wait(10) == 0
    assert "unanswered" not in server.log()


def test_requests_in_the_backlog_are_answered(server):
    count = 600  # takes longer than IN_FLIGHT_PERIOD
    with contextlib.ExitStack() as stack:
        server.process.send_signal(signal.SIGSTOP)
        clients = []
        for _ in range(count):
            address = ("127.0.0.1", server.port)
            clients.append(stack.enter_context(socket.create_connection(address, timeout=30)))
            clients[-1].sendall(b"GET /docs HTTP/1.1\r\nHost: x\r\n\r\n")
        server.process.send_signal(signal.SIGTERM)
        server.process.send_signal(signal.SIGCONT)

        answers = [client.recv(12) for client in clients]

    assert answers == [b"HTTP/1.1 200"] * count
    assert server.process.wait(10) == 0


def test_an_unfinished_request_or_close_delays_the_shutdown_by_10_s_at_most(server):
    token = server.user("Ann").token
    with (
        socket.create_connection(("127.0.0.1", server.port)) as request,
        socket.create_connection(("127.0.0.1", server.port)) as viewer,
    ):
        request.sendall(
            b"POST /api/score/update HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{"
        )
        viewer.sendall(
            f"GET /ws/scoreboard?token={token} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
            "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )
        assert b"101" in viewer.recv(100)

        server.process.send_signal(signal.SIGTERM)

        assert server.process.wait(10) == 0


def test_repeated_signals_are_harmless(server):
    for _ in range(4):
        server.process.send_signal(signal.SIGTERM)
        server.process_wait(0.05)

    assert server.process.wait(10) == 0
    assert "wakeup" not in server.log()
    assert "Bad file descriptor" not in server.log()
