"""A process that is told to stop answers what it accepted, and sends its viewers away properly."""

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
from scoreboard.db import transactions as database
from scoreboard.models import Score
from tests.support import databases
from tests.support.servers import SECRETS, Server
from tests.support.subscribers import NodeViewer, PlainViewer, SocketIoViewer
from tests.support.waiting import wait_until

WRITERS = 8


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path)
    yield server
    server.stop()


def recorded(url):
    """Return the identities in the history."""
    app = create_app(Config.from_environment({**SECRETS, "DATABASE_URL": url}))
    with app.app_context():
        rows = database.read(lambda c: c.execute(select(Score.identity)).scalars().all())
    assert len(rows) == len(set(rows))
    return set(rows)


class Load:
    """Some who post without pause: on a connection each time, on one kept, and by Socket.IO.

    `accepted` is what was answered with 200, `cut` what was sent and never answered; `refusals`
    are the codes of all other answers.
    """

    def __init__(self, server, people):
        self.server = server
        self.accepted, self.cut, self.refusals = [], [], []
        self.enough = threading.Event()
        ways = itertools.cycle([self._post_each, self._post_kept, self._submit])
        self.threads = [
            threading.Thread(target=way, args=(person,))
            for person, way in zip(people, ways, strict=False)
        ]
        for thread in self.threads:
            thread.start()

    def join(self):
        for thread in self.threads:
            thread.join(20)
            assert not thread.is_alive()

    def _accept(self, update):
        self.accepted.append(update["nonce"])
        if len(self.accepted) > 200:
            self.enough.set()

    def _post_each(self, person):
        self._post(person, {"Connection": "close"})

    def _post_kept(self, person):
        self._post(person, {})

    def _post(self, person, headers):
        headers = {**person.bearer, "Content-Type": "application/json", **headers}
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=20)
        for value in itertools.count():
            update = person.update(value, nonce=uuid.uuid4().hex)
            try:
                if connection.sock is None:
                    connection.connect()
            except ConnectionRefusedError:
                return
            try:
                connection.request("POST", "/api/score/update", json.dumps(update), headers)
                answer = connection.getresponse()
                body = json.loads(answer.read())
            except (OSError, http.client.HTTPException):
                self.cut.append(update["nonce"])
                return
            if answer.status != 200:
                self.refusals.append(body["error"]["code"])
                return
            self._accept(update)

    def _submit(self, person):
        viewer = SocketIoViewer(self.server.url, person.token)
        for value in itertools.count():
            update = person.update(value, nonce=uuid.uuid4().hex)
            answers = []
            try:
                viewer.client.emit("update_score", update, callback=answers.append)
            except BadNamespaceError:  # it has ended since the last answer: nothing was sent
                return
            wait_until(lambda: answers or viewer.ended.is_set())  # noqa: B023
            if not answers:
                self.cut.append(update["nonce"])
                return
            if answers[0]["status"] != 200:
                self.refusals.append(answers[0]["body"]["error"]["code"])
                viewer.close()
                return
            self._accept(update)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_stop_under_load_loses_nothing_and_cuts_nobody(tmp_path, watching, kind):
    url = f"sqlite:///{tmp_path}/x.db" if kind == "sqlite" else databases.new_database()
    server = Server(tmp_path, DATABASE_URL=url)
    try:
        people = [server.user(f"Player-{number}") for number in range(WRITERS)]
        plain = [watching(PlainViewer(server.url, people[0].token)) for _ in range(5)]
        sockets = [
            watching(SocketIoViewer(server.url, people[0].token, transports))
            for transports in (["websocket"], ["polling"])
        ]
        load = Load(server, people)
        assert load.enough.wait(60)

        server.process.send_signal(signal.SIGTERM)

        assert server.process.wait(10) == 0
        load.join()
        assert all(viewer.ended.wait(5) for viewer in [*plain, *sockets])
        assert {viewer.code for viewer in plain} == {1012}
        assert set(load.refusals) <= {"stopping"}
        assert set(load.accepted) <= recorded(url)
        # Nor is anything recorded that nobody was told of.
        assert not set(load.cut) & recorded(url)
    finally:
        server.stop()


def test_socket_io_over_websocket_is_closed_with_1012_too(server):
    address = server.url.replace("http", "ws") + "/ws/scoreboard/?EIO=4&transport=websocket"
    viewer = websocket.create_connection(address, timeout=10)
    viewer.send("40" + json.dumps({"token": server.user("Ann").token}))
    while not viewer.recv().startswith("42"):
        pass

    server.process.send_signal(signal.SIGTERM)

    opcode, data = viewer.recv_data()
    assert opcode == websocket.ABNF.OPCODE_CLOSE
    assert int.from_bytes(data[:2], "big") == 1012


@pytest.mark.parametrize("transports", ["websocket", "polling"])
def test_the_ordinary_client_is_not_told_to_stay_away(server, watching, transports):
    viewer = watching(NodeViewer(server.url, server.user("Ann").token, transports))
    viewer.said("top_10_update")

    server.process.send_signal(signal.SIGTERM)

    # After "io server disconnect" it would not come back by itself. A client that polls learns of
    # the end by an answer, or in between by the lack of one.
    assert viewer.said("disconnect") in ("transport close", "transport error")
    assert server.process.wait(10) == 0


def test_idle_connections_do_not_hold_the_stop_up(server):
    with (
        requests.Session() as between_requests,
        socket.create_connection(("127.0.0.1", server.port)),
    ):
        between_requests.get(f"{server.url}/api/score/top10", timeout=10)

        server.process.send_signal(signal.SIGINT)

        assert server.process.wait(10) == 0
    assert "unanswered" not in server.log()


def test_a_crowd_that_came_before_the_stop_is_answered_to_the_last(server):
    crowd = 600  # whose answers together take longer than the half second there is by itself
    with contextlib.ExitStack() as stack:
        server.process.send_signal(signal.SIGSTOP)
        clients = []
        for _ in range(crowd):
            address = ("127.0.0.1", server.port)
            clients.append(stack.enter_context(socket.create_connection(address, timeout=30)))
            clients[-1].sendall(b"GET /docs HTTP/1.1\r\nHost: x\r\n\r\n")
        server.process.send_signal(signal.SIGTERM)
        server.process.send_signal(signal.SIGCONT)

        answered = [client.recv(12) for client in clients]

    assert answered == [b"HTTP/1.1 200"] * crowd
    assert server.process.wait(10) == 0


def test_who_never_ends_a_request_or_a_close_cannot_hold_the_stop_up_for_long(server):
    with (
        socket.create_connection(("127.0.0.1", server.port)) as request,
        socket.create_connection(("127.0.0.1", server.port)) as viewer,
    ):
        request.sendall(
            b"POST /api/score/update HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{"
        )
        token = server.user("Ann").token
        viewer.sendall(
            f"GET /ws/scoreboard?token={token} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
            "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )
        assert b"101" in viewer.recv(100)

        server.process.send_signal(signal.SIGTERM)

        assert server.process.wait(10) == 0


def test_being_told_again_and_again_is_being_told_once(server):
    for _ in range(4):
        server.process.send_signal(signal.SIGTERM)
        server.process_wait(0.05)

    assert server.process.wait(10) == 0
    assert "wakeup" not in server.log()
    assert "Bad file descriptor" not in server.log()
