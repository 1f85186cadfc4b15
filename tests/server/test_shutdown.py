"""Graceful shutdown: accepted requests are answered, WebSockets are closed with code 1012."""

import contextlib
import itertools
import json
import signal
import socket
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
import websocket
from socketio.exceptions import BadNamespaceError

from tests.support import databases
from tests.support.servers import Server
from tests.support.sql import query
from tests.support.subscribers import NodeClient, SocketIoClient, WebSocketClient
from tests.support.waiting import wait_until

WRITERS = 8


@pytest.fixture
def database_url(tmp_path, request):
    if getattr(request, "param", "sqlite") == "postgres":
        return databases.new_database()
    return f"sqlite:///{tmp_path}/scoreboard.db"


@pytest.fixture
def server(tmp_path, database_url):
    server = Server(tmp_path, DATABASE_URL=database_url)
    yield server
    server.stop()


def http_sender(server, player, **headers):
    """Return a function that posts an update; see `send_until_refused`."""
    session = requests.Session()
    session.headers.update(player.bearer, **headers)

    def send(update):
        try:
            response = session.post(f"{server.url}/api/score/update", json=update, timeout=20)
            return response.status_code, response.json()
        except requests.RequestException:
            return None, None

    return send


def socket_io_sender(client):
    """Return a function that emits an update; see `send_until_refused`."""

    def send(update):
        acknowledgements = []
        try:
            client.client.emit("update_score", update, callback=acknowledgements.append)
        except BadNamespaceError:  # already disconnected
            return None, None
        wait_until(lambda: acknowledgements or client.ended.is_set())
        if not acknowledgements:
            return None, None
        return acknowledgements[0]["status"], acknowledgements[0]["body"]

    return send


class PollingClient:
    """A Socket.IO client that polls, on one kept connection."""

    def __init__(self, server, player):
        self.session = requests.Session()
        self.url = f"{server.url}/ws/scoreboard/?EIO=4&transport=polling"
        self.url += f"&sid={json.loads(self.poll()[0][1:])['sid']}"
        self.post("40" + json.dumps({"token": player.token}))

    def post(self, packet):
        self.session.post(self.url, data=packet, timeout=20).raise_for_status()

    def poll(self):
        response = self.session.get(self.url, timeout=20)
        response.raise_for_status()
        return response.text.split("\x1e")

    def emit(self, update):
        self.post("421" + json.dumps(["update_score", update]))

    def acknowledgement(self):
        """Poll until a response to an update arrives, and return it."""
        while True:
            for packet in self.poll():
                if packet.startswith("431"):
                    return json.loads(packet.removeprefix("431"))[0]

    def send(self, update):
        """Send an update; see `send_until_refused`."""
        try:
            self.emit(update)
            acknowledgement = self.acknowledgement()
        except requests.RequestException:
            return None, None
        return acknowledgement["status"], acknowledgement["body"]


def send_until_refused(player, send, results):
    """Send updates until one is not accepted; add the nonce, status and body of each to `results`.

    `send` returns status and body of the response, or None twice if there is no response.
    """
    for number in itertools.count():
        update = player.update(number, nonce=uuid.uuid4().hex)
        status, body = send(update)
        results.append((update["nonce"], status, body))
        if status != 200:
            return


def stop_under_load(server, players, senders):
    """Stop the server while each player sends updates; return what `send_until_refused` adds."""
    results = []
    with ThreadPoolExecutor(len(players)) as pool:
        writing = [
            pool.submit(send_until_refused, player, send, results)
            for player, send in zip(players, senders, strict=True)
        ]
        try:
            wait_until(lambda: len(results) > 200, seconds=60)

            server.process.send_signal(signal.SIGTERM)

            assert server.process.wait(10) == 0
        finally:
            server.stop()  # ends the writers
    for written in writing:
        written.result()
    return results


@pytest.mark.parametrize("database_url", ["sqlite", "postgres"], indirect=True)
def test_a_shutdown_under_load_answers_every_recorded_update(server, closing, database_url):
    players = [server.user(f"Player-{number}") for number in range(WRITERS)]
    plain = [closing(WebSocketClient(server.url, players[0].token)) for _ in range(5)]
    sockets = [
        closing(SocketIoClient(server.url, player.token, transports))
        for player, transports in zip(
            players, [None, None, ["websocket"], ["polling"]], strict=False
        )
    ]
    senders = [socket_io_sender(client) for client in sockets[:2]]
    senders += [http_sender(server, player) for player in players[2:5]]
    senders += [http_sender(server, player, Connection="close") for player in players[5:]]

    results = stop_under_load(server, players, senders)

    assert all(client.ended.wait(5) for client in [*plain, *sockets])
    assert {client.code for client in plain} == {1012}
    accepted = {nonce for nonce, status, _ in results if status == 200}
    unanswered = {nonce for nonce, status, _ in results if status is None}
    refusals = {body["error"]["code"] for _, status, body in results if status not in (200, None)}
    recorded = [nonce for (nonce,) in query(database_url, "SELECT identity FROM scores")]
    assert refusals <= {"stopping"}
    assert len(recorded) == len(set(recorded))
    assert accepted <= set(recorded)
    assert unanswered.isdisjoint(recorded)


def test_polling_clients_receive_the_response_to_every_recorded_update(server, database_url):
    players = [server.user(f"Player-{number}") for number in range(WRITERS)]
    senders = [PollingClient(server, player).send for player in players[:5]]
    # Broadcasts of these updates end polls before the acknowledgement.
    senders += [http_sender(server, player) for player in players[5:]]

    results = stop_under_load(server, players, senders)

    unanswered = {nonce for nonce, status, _ in results if status is None}
    recorded = [nonce for (nonce,) in query(database_url, "SELECT identity FROM scores")]
    assert unanswered.isdisjoint(recorded)


def test_a_polling_client_may_fetch_its_last_acknowledgement(server, database_url):
    player = server.user("Ann")
    client = PollingClient(server, player)
    client.emit(player.update(7))
    wait_until(lambda: query(database_url, "SELECT identity FROM scores"))

    server.process.send_signal(signal.SIGTERM)
    server.process_wait(0.1)

    assert client.acknowledgement()["status"] == 200
    assert server.process.wait(10) == 0


def test_socket_io_over_websocket_is_closed_with_1012(server):
    url = server.url.replace("http", "ws") + "/ws/scoreboard/?EIO=4&transport=websocket"
    subscriber = websocket.create_connection(url, timeout=10)
    subscriber.send("40" + json.dumps({"token": server.user("Ann").token}))
    while not subscriber.recv().startswith("42"):
        pass

    server.process.send_signal(signal.SIGTERM)

    opcode, data = subscriber.recv_data()
    assert (opcode, int.from_bytes(data[:2], "big")) == (websocket.ABNF.OPCODE_CLOSE, 1012)


@pytest.mark.parametrize("transports", ["websocket", "polling"])
def test_the_javascript_client_may_reconnect(server, closing, transports):
    client = closing(NodeClient(server.url, server.user("Ann").token, transports))
    client.wait_for_event("top_10_update")

    server.process.send_signal(signal.SIGTERM)

    # After "io server disconnect" it would not reconnect by itself.
    assert client.wait_for_event("disconnect") in ("transport close", "transport error")
    assert server.process.wait(10) == 0


def test_idle_connections_do_not_delay_the_shutdown(server):
    with requests.Session() as idle, socket.create_connection(("127.0.0.1", server.port)):
        idle.get(f"{server.url}/api/score/top10", timeout=10)

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

        responses = [client.recv(12) for client in clients]

    assert responses == [b"HTTP/1.1 200"] * count
    assert server.process.wait(10) == 0


def test_an_unfinished_request_or_close_delays_the_shutdown_by_10_s_at_most(server):
    token = server.user("Ann").token
    url = f"{server.url.replace('http', 'ws')}/ws/scoreboard?token={token}"
    head = b"POST /api/score/update HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n"
    with (
        socket.create_connection(("127.0.0.1", server.port)) as client,
        contextlib.closing(websocket.create_connection(url, timeout=10)),  # answers no close
    ):
        client.sendall(head + b"{")

        server.process.send_signal(signal.SIGTERM)

        assert server.process.wait(10) == 0


def test_repeated_signals_are_harmless(server):
    for _ in range(4):
        server.process.send_signal(signal.SIGTERM)
        server.process_wait(0.05)

    assert server.process.wait(10) == 0
    assert "wakeup" not in server.log()
    assert "Bad file descriptor" not in server.log()
