"""Real clients of every kind on real servers of every mode."""

import asyncio
import functools
import json
import resource
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import requests
import websocket

from tests.support.prerequisites import missing
from tests.support.servers import RUN_MODES
from tests.support.subscribers import NodeClient, SocketIoClient, WebSocketClient
from tests.support.tokens import mint
from tests.support.waiting import wait_until

CLIENTS = {
    "websocket": functools.partial(SocketIoClient, transports=["websocket"]),
    "polling": functools.partial(SocketIoClient, transports=["polling"]),
    "upgrade": SocketIoClient,
    "query": functools.partial(WebSocketClient, how="query"),
    "header": functools.partial(WebSocketClient, how="header"),
    "subprotocol": functools.partial(WebSocketClient, how="subprotocol"),
}
NODE_TRANSPORTS = ["websocket", "polling", "polling,websocket"]


def expiring_token(user, seconds):
    return mint(user.user_id, exp=datetime.now(UTC) + timedelta(seconds=seconds))


@pytest.fixture
def update(users):
    """Return an update that is later than all before and changes the top 10."""
    now = datetime.now(UTC)
    return users["player"].update(now.timestamp(), now.isoformat())


@pytest.fixture
def post(server, users, update):
    """Return a function that posts the update and returns the response."""
    return lambda: server.post(users["player"].token, update)


def top_10_update(server):
    return {"type": "top_10_update", "data": {"top_10_scores": server.top10()}}


def messages_after(server, update):
    """Return the messages that follow the update."""
    data = {"user_id": update["user_id"], "new_score": update["score_value"]}
    return [{"type": "score_update", "data": data}, top_10_update(server)]


def refusal(url, token):
    """Return status and code with which a plain WebSocket is refused."""
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        WebSocketClient(url, token)
    return refused.value.status_code, json.loads(refused.value.resp_body)["error"]["code"]


def score_updates(messages):
    return [m["data"]["new_score"] for m in messages if m["type"] == "score_update"]


def node_messages(lines):
    """Return the messages in the output of a `NodeClient`."""
    return [line["value"] for line in lines if "_update" in line["event"]]


@pytest.mark.parametrize("connect", CLIENTS.values(), ids=CLIENTS)
def test_a_client_gets_the_current_top_10_and_then_every_update(
    server, users, closing, connect, update, post
):
    subscriber = closing(connect(server.url, users["viewer"].token))
    current = top_10_update(server)
    subscriber.wait_for_count(1)

    post()

    assert subscriber.wait_for_count(3) == [current, *messages_after(server, update)]


@pytest.mark.parametrize("transports", NODE_TRANSPORTS)
class TestJavaScriptClient:
    def test_it_watches_and_submits(self, server, users, closing, transports, update):
        node = closing(NodeClient(server.url, users["player"].token, transports, update))

        assert node.wait_for_event("open") == transports.split(",")[0]
        response = node.wait_for_event("ack")
        assert response["status"] == 200
        assert response["body"].keys() == {"user_id", "score", "score_id", "created_at", "applied"}
        expected = messages_after(server, update)
        node.wait_for(lambda lines: expected[1] in node_messages(lines))
        messages = node_messages(node.messages())
        assert messages[0]["type"] == "top_10_update"
        assert messages[1:] == expected
        if transports == "polling,websocket":
            assert node.wait_for_event("upgrade") == "websocket"

    def test_a_bad_token_is_a_connect_error_with_the_code(self, server, users, closing, transports):
        node = closing(NodeClient(server.url, expiring_token(users["viewer"], -1), transports))

        assert node.wait_for_event("connect_error")["code"] == "token_expired"
        assert "connect" not in [line["event"] for line in node.messages()]


class TestPlainWebSocket:
    @pytest.fixture
    def subscriber(self, server, users, closing):
        offer = ["Sec-WebSocket-Extensions: permessage-deflate"]
        return closing(WebSocketClient(server.url, users["viewer"].token, "query", header=offer))

    @pytest.mark.parametrize(("how", "accepted"), [("subprotocol", "scoreboard"), ("header", None)])
    def test_the_subprotocol_is_accepted_if_offered(self, server, users, closing, how, accepted):
        subscriber = closing(WebSocketClient(server.url, users["viewer"].token, how))

        assert subscriber.socket.getsubprotocol() == accepted

    def test_a_request_without_a_token_is_refused(self, server):
        assert refusal(server.url, None) == (401, "token_missing")

    def test_no_compression_is_accepted(self, subscriber):
        assert "sec-websocket-extensions" not in subscriber.socket.getheaders()

    def test_messages_of_the_client_are_ignored(self, subscriber, post):
        subscriber.socket.send("hello")
        subscriber.socket.send_binary(b"\x00\xff")
        subscriber.socket.ping()

        post()

        assert subscriber.wait_for_count(3)

    def test_a_message_that_is_too_long_ends_the_connection(self, subscriber):
        subscriber.socket.send("x" * 100_000)

        assert subscriber.ended.wait(10)
        assert subscriber.code == 1009


class TestEndOfAConnection:
    @pytest.mark.parametrize("connect", [WebSocketClient, SocketIoClient])
    def test_the_server_closes_it_when_the_token_expires(self, server, users, closing, connect):
        subscriber = closing(connect(server.url, expiring_token(users["viewer"], 2)))

        assert subscriber.ended.wait(10)
        assert getattr(subscriber, "code", 4401) == 4401

    def test_the_javascript_client_sees_that_the_server_closed_it(self, server, users, closing):
        token = expiring_token(users["viewer"], 4)

        node = closing(NodeClient(server.url, token, "websocket"))

        assert node.wait_for_event("disconnect") == "io server disconnect"

    def test_signing_out_closes_only_the_connections_of_the_session(self, server, users, closing):
        token = server.sign_in("The-player")["access_token"]
        plain = closing(WebSocketClient(server.url, token))
        socket_io = closing(SocketIoClient(server.url, token))
        other = closing(WebSocketClient(server.url, users["player"].token))

        headers = {"Authorization": f"Bearer {token}"}
        requests.post(f"{server.url}/api/auth/logout", headers=headers, timeout=10)

        assert plain.ended.wait(10)
        assert plain.code == 4401
        assert socket_io.ended.wait(10)
        assert not other.ended.is_set()


class TestEvents:
    @pytest.fixture
    def subscriber(self, server, users, closing):
        return closing(SocketIoClient(server.url, users["player"].token))

    @pytest.mark.parametrize("body", [None, "text", 7, [], {}, {"user_id": 7}], ids=str)
    def test_an_invalid_body_is_acknowledged_with_an_error(self, subscriber, body):
        response = subscriber.submit(body)

        assert response["status"] == 400
        assert response["body"]["error"]["code"] in ("invalid_json", "invalid_input")

    def test_an_update_posted_before_is_a_replay(self, subscriber, update, post):
        first = post()

        response = subscriber.submit(update)

        assert (response["status"], response["body"]["error"]["code"]) == (400, "replayed")
        assert response["body"]["error"]["receipt"] == first.json()

    def test_a_client_cannot_send_messages_to_others(self, server, users, subscriber, closing):
        other = closing(WebSocketClient(server.url, users["viewer"].token))
        for event in ("join", "top_10_update", "score_update", "message", "my event"):
            subscriber.client.emit(event, {"room": "scoreboard", "type": event})

        assert subscriber.submit({})["status"] == 400
        assert len(other.wait_for_count(1)) == 1


class TestHostilePackets:
    """Engine.IO packets over a WebSocket that no client library sends."""

    @pytest.fixture
    def open_socket(self, server):
        """Return a function that opens a session, and connects it if there is a token."""
        opened = []

        def open_socket(token=None):
            address = f"{server.url.replace('http', 'ws')}/ws/scoreboard/?EIO=4&transport=websocket"
            socket = websocket.create_connection(address, timeout=20)
            opened.append(socket)
            assert socket.recv().startswith("0{")
            if token:
                socket.send("40" + json.dumps({"token": token}))
                assert socket.recv().startswith("40{")
            return socket

        yield open_socket
        for socket in opened:
            socket.shutdown()

    def is_closed(self, socket):
        while socket.recv():
            pass
        return True

    @pytest.mark.parametrize(
        "packet",
        [
            *("", "x", "9", "4", "42", "42{}", "42[]", "42[7]", "42[[1],2]", "42" + "[" * 5000),
            *('421["connect","a","b"]', '421["disconnect","a","b"]'),
            *('451-["x",{"_placeholder":true,"num":0}]', "43[]", "44", b"\x04\x00"),
            f'42["update_score","{"x" * 100_000}"]',
        ],
        ids=lambda packet: ascii(packet)[:30],
    )
    def test_a_malformed_packet_ends_the_connection(self, open_socket, users, packet):
        socket = open_socket(users["viewer"].token)

        socket.send(packet, 2 if isinstance(packet, bytes) else 1)

        assert self.is_closed(socket)

    @pytest.mark.parametrize("body", ["[" * 3000, "1" * 5000, "{", '"half'], ids=len)
    def test_an_unreadable_update_is_acknowledged_with_an_error(self, open_socket, users, body):
        socket = open_socket(users["player"].token)
        assert "top_10_update" in socket.recv()

        socket.send(f'427["update_score",{body}]')

        (response,) = json.loads(socket.recv().removeprefix("437"))
        assert (response["status"], response["body"]["error"]["code"]) == (400, "invalid_json")

    def test_a_client_must_authenticate_within_ten_seconds(self, server, open_socket, update):
        silent, refused, early = (open_socket() for _ in range(3))
        before = server.top10()
        refused.send('40{"token":"x"}')
        early.send("42" + json.dumps(["update_score", update]))

        assert refused.recv().startswith("44")
        assert all(self.is_closed(socket) for socket in (silent, refused, early))
        assert server.top10() == before

    def test_the_log_has_no_traceback_and_no_token(self, server, users):
        """This test runs after those above, whose connections had the token in the query."""
        log = server.log()

        assert users["viewer"].token not in log
        assert "Traceback" not in log
        assert "Bad file descriptor" not in log


def test_an_update_sent_many_times_at_once_counts_once(server, users, update):
    player, count = users["player"], 12
    barrier = threading.Barrier(count)

    def post(update):
        barrier.wait(10)
        return server.post(player.token, update)

    for value in range(5):
        repeated = {**update, "score_value": value, "nonce": uuid.uuid4().hex}
        with ThreadPoolExecutor(count) as pool:
            responses = list(pool.map(post, [repeated] * count))

        [receipt] = [response.json() for response in responses if response.status_code == 200]
        errors = [response.json()["error"] for response in responses if response.status_code == 400]
        assert len(errors) == count - 1
        assert all(error["code"] == "replayed" for error in errors)
        assert all(error["receipt"] == receipt for error in errors)


def viewer_token(server):
    return requests.post(f"{server.url}/api/auth/viewer", timeout=10).json()["access_token"]


def test_more_than_a_thousand_clients_are_served_at_once(own_server):
    """More than the 1,024 connections at which eventlet's server stops by default."""
    hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard_limit < 4000:
        missing("this machine allows too few open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (4000, hard_limit))
    server = own_server(CONNECTIONS_PER_ADDRESS="1200")

    asyncio.run(connect_many(server, viewer_token(server), 1100))


async def connect_many(server, token, count):
    """Open plain WebSockets and wait until each has the top 10 while all are open."""
    request = (
        f"GET /ws/scoreboard?token={token} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    connections = []
    for _ in range(count):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request.encode())
        connections.append((reader, writer))
    for reader, _ in connections:
        await asyncio.wait_for(reader.readuntil(b'"top_10_scores":[]}}'), 20)
    for _, writer in connections:
        writer.close()


def test_open_connections_are_limited_by_address(own_server, closing):
    server = own_server(CONNECTIONS_PER_ADDRESS="2")
    token = viewer_token(server)
    first, _ = (
        closing(connect(server.url, token)) for connect in (WebSocketClient, SocketIoClient)
    )

    refused = closing(NodeClient(server.url, token, "websocket"))

    assert refused.wait_for_event("connect_error")["code"] == "too_many_connections"
    assert refusal(server.url, token) == (429, "too_many_connections")
    first.close()

    def is_accepted():
        try:
            return closing(WebSocketClient(server.url, token))
        except websocket.WebSocketBadStatusException:
            return False

    wait_until(is_accepted)


@pytest.mark.parametrize("mode", RUN_MODES)
def test_a_client_that_upgrades_during_updates_gets_each_once_and_in_order(
    own_server, mode, closing
):
    server, stop = own_server(mode), threading.Event()
    player, sent = server.user("Ann"), []

    def post_until_stopped():
        while not stop.is_set():
            assert server.send(player.token, player.update(len(sent)))[0] == 200
            sent.append(len(sent))

    def wait_for(condition):
        for client in clients:
            client.wait_for(lambda messages: condition(score_updates(messages)), 20)
        for node in nodes:
            node.wait_for(lambda lines: condition(score_updates(node_messages(lines))), 20)

    with ThreadPoolExecutor(1) as pool:
        posting = pool.submit(post_until_stopped)
        try:
            wait_until(lambda: sent)
            nodes = [
                closing(NodeClient(server.url, player.token, "polling,websocket")) for _ in range(4)
            ]
            clients = [closing(SocketIoClient(server.url, player.token)) for _ in range(12)]
            assert {node.wait_for_event("upgrade") for node in nodes} == {"websocket"}
            wait_for(lambda scores: len(scores) > 3)
        finally:
            stop.set()
        posting.result(20)

    wait_for(lambda scores: scores[-1:] == sent[-1:])
    received = [client.messages() for client in clients]
    received += [node_messages(node.messages()) for node in nodes]
    for messages in received:
        assert messages[0]["type"] == "top_10_update"
        first = messages[0]["data"]["top_10_scores"][0]["score"] + 1
        assert score_updates(messages) == list(range(first, sent[-1] + 1))
