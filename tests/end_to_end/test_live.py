"""The live board on a real server, run in every mode, with real clients."""

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

PLAIN = {
    how: functools.partial(WebSocketClient, how=how) for how in ("query", "header", "subprotocol")
}
SOCKET_IO = {
    name: functools.partial(SocketIoClient, transports=transports)
    for name, transports in {
        "websocket": ["websocket"],
        "polling": ["polling"],
        "default": None,
    }.items()
}
NODE_TRANSPORTS = ["websocket", "polling", "polling,websocket"]


@pytest.fixture
def bad_tokens(server, users):
    """Return a bad token for each error code."""
    user_id = users["viewer"].user_id
    return {
        "token_missing": None,
        "token_invalid": mint(user_id, key="k" * 48),
        "token_expired": mint(user_id, exp=datetime.now(UTC) - timedelta(seconds=1)),
        "token_type": server.sign_in("The-player")["refresh_token"],
    }


@pytest.fixture
def update(users):
    """Return an update that leads to another top 10, later than all before it."""
    now = datetime.now(UTC)
    return users["player"].update(now.timestamp(), now.isoformat())


@pytest.fixture
def post(server, users, update):
    """Return a function that posts the update and returns the response."""
    return lambda: server.post(users["player"].token, update)


def top_10_update(server):
    return {"type": "top_10_update", "data": {"top_10_scores": server.top10()}}


def messages_of(server, update):
    """Return the messages that the update leads to."""
    data = {"user_id": update["user_id"], "new_score": update["score_value"]}
    return [{"type": "score_update", "data": data}, top_10_update(server)]


def plain_refusal(server, *arguments, **options):
    """Return status and code with which a plain WebSocket is refused."""
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        WebSocketClient(server.url, *arguments, **options)
    body = json.loads(refused.value.resp_body)
    return refused.value.status_code, body["error"]["code"]


@pytest.mark.parametrize(
    "connect", [*PLAIN.values(), *SOCKET_IO.values()], ids=[*PLAIN, *SOCKET_IO]
)
def test_a_client_gets_the_current_top_10_and_then_every_update(
    server, users, closing, connect, update, post
):
    viewer = closing(connect(server.url, users["viewer"].token))
    current = top_10_update(server)
    viewer.wait_for_count(1)

    post()

    assert viewer.wait_for_count(3) == [current, *messages_of(server, update)]


@pytest.mark.parametrize("connect", SOCKET_IO.values(), ids=SOCKET_IO)
def test_an_update_by_event_does_what_the_endpoint_does(server, users, closing, connect, update):
    viewer = closing(connect(server.url, users["player"].token))
    viewer.wait_for_count(1)

    answer = viewer.submit(update)

    assert answer["status"] == 200
    assert answer["body"].keys() == {"user_id", "score", "score_id", "created_at", "applied"}
    assert viewer.wait_for_count(3)[1:] == messages_of(server, update)


@pytest.mark.parametrize("transports", NODE_TRANSPORTS)
class TestJavaScriptClient:
    def test_it_watches_and_submits(self, server, users, closing, transports, update):
        viewer = closing(NodeClient(server.url, users["player"].token, transports, update))

        assert viewer.wait_for_event("open") == transports.split(",")[0]
        assert viewer.wait_for_event("ack")["status"] == 200
        expected = messages_of(server, update)
        viewer.wait_for(lambda lines: expected[1] in [line["value"] for line in lines])
        messages = updates(viewer.messages())
        assert messages[0]["type"] == "top_10_update"
        assert messages[1:] == expected
        if transports == "polling,websocket":
            assert viewer.wait_for_event("upgrade") == "websocket"

    def test_a_bad_token_is_a_connect_error_with_the_code(
        self, server, bad_tokens, closing, transports
    ):
        for code, token in bad_tokens.items():
            viewer = closing(NodeClient(server.url, token, transports))
            assert viewer.wait_for_event("connect_error")["code"] == code
            assert "connect" not in [line["event"] for line in viewer.messages()]


def updates(lines):
    return [line["value"] for line in lines if "_update" in line["event"]]


class TestPlainWebSocket:
    @pytest.fixture
    def viewer(self, server, users, closing):
        offer = ["Sec-WebSocket-Extensions: permessage-deflate"]
        return closing(WebSocketClient(server.url, users["viewer"].token, "query", header=offer))

    @pytest.mark.parametrize(("how", "expected"), [("subprotocol", "scoreboard"), ("header", None)])
    def test_the_subprotocol_is_accepted_if_offered(self, server, users, closing, how, expected):
        viewer = closing(WebSocketClient(server.url, users["viewer"].token, how))

        assert viewer.socket.getsubprotocol() == expected

    def test_a_public_viewer_token_is_enough(self, server, closing):
        answer = requests.post(f"{server.url}/api/auth/viewer", timeout=10)

        assert closing(WebSocketClient(server.url, answer.json()["access_token"])).wait_for_count(1)

    @pytest.mark.parametrize(
        ("how", "origin", "refusal"),
        [
            ("none", None, (401, "token_missing")),
            ("header", "https://evil.example", (403, "origin_not_allowed")),
        ],
    )
    def test_a_refusal_comes_before_the_upgrade(self, server, users, how, origin, refusal):
        token = users["viewer"].token

        assert plain_refusal(server, token, how, origin=origin) == refusal

    def test_no_compression_is_accepted(self, viewer):
        assert "sec-websocket-extensions" not in viewer.socket.getheaders()

    def test_a_request_without_an_upgrade_is_refused(self, server):
        answer = requests.get(f"{server.url}/ws/scoreboard", timeout=10)

        assert (answer.status_code, answer.json()["error"]["code"]) == (426, "upgrade_required")

    def test_messages_of_the_client_are_ignored(self, viewer, post):
        viewer.socket.send("hello")
        viewer.socket.send_binary(b"\x00\xff")
        viewer.socket.ping()

        post()

        assert viewer.wait_for_count(3)

    def test_a_message_that_is_too_long_ends_the_connection(self, viewer):
        viewer.socket.send("x" * 100_000)

        assert viewer.ended.wait(10)
        assert viewer.code == 1009


class TestEndOfAConnection:
    def short_token(self, users, seconds=2):
        expires = datetime.now(UTC) + timedelta(seconds=seconds)
        return mint(users["viewer"].user_id, exp=expires)

    @pytest.mark.parametrize("connect", [WebSocketClient, SocketIoClient])
    def test_the_server_closes_it_when_the_token_expires(self, server, users, closing, connect):
        viewer = closing(connect(server.url, self.short_token(users)))

        assert viewer.ended.wait(10)
        assert getattr(viewer, "code", 4401) == 4401

    def test_the_javascript_client_sees_that_the_server_closed_it(self, server, users, closing):
        viewer = closing(NodeClient(server.url, self.short_token(users, 4), "websocket"))

        assert viewer.wait_for_event("disconnect") == "io server disconnect"

    def test_signing_out_closes_only_the_connections_of_the_session(self, server, users, closing):
        token = server.sign_in("The-player")["access_token"]
        plain = closing(WebSocketClient(server.url, token))
        socket = closing(SocketIoClient(server.url, token))
        other = closing(WebSocketClient(server.url, users["player"].token))

        headers = {"Authorization": f"Bearer {token}"}
        requests.post(f"{server.url}/api/auth/logout", headers=headers, timeout=10)

        assert plain.ended.wait(10)
        assert plain.code == 4401
        assert socket.ended.wait(10)
        assert not other.ended.is_set()

    def test_a_lost_role_counts_at_once(self, server, closing):
        player = server.user(f"Demoted-{server.port}")
        viewer = closing(SocketIoClient(server.url, player.token))
        server.flask("users", "role", f"Demoted-{server.port}", "viewer")

        answer = viewer.submit(player.update(1))

        assert (answer["status"], answer["body"]["error"]["code"]) == (401, "not_permitted")


class TestEvents:
    @pytest.fixture
    def viewer(self, server, users, closing):
        return closing(SocketIoClient(server.url, users["player"].token))

    @pytest.mark.parametrize("body", [None, "text", 7, [], {}, {"user_id": 7}], ids=str)
    def test_a_bad_body_is_acknowledged_with_an_error(self, viewer, body):
        answer = viewer.submit(body)

        assert answer["status"] == 400
        assert answer["body"]["error"]["code"] in ("invalid_json", "invalid_input")

    def test_an_update_posted_before_is_a_replay(self, viewer, update, post):
        first = post()

        answer = viewer.submit(update)

        assert (answer["status"], answer["body"]["error"]["code"]) == (400, "replayed")
        assert answer["body"]["error"]["receipt"] == first.json()

    def test_a_client_cannot_send_messages_to_others(self, server, users, viewer, closing):
        other = closing(WebSocketClient(server.url, users["viewer"].token))
        for event in ("join", "top_10_update", "score_update", "message", "my event"):
            viewer.client.emit(event, {"room": "scoreboard", "type": event})

        assert viewer.submit({})["status"] == 400
        assert len(other.wait_for_count(1)) == 1


class TestHostilePackets:
    """Engine.IO packets over a WebSocket that no client library sends."""

    @pytest.fixture
    def open_socket(self, server):
        """Return a function that opens a session, connected if it gets a token."""
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

        answer = json.loads(socket.recv().removeprefix("437"))[0]
        assert (answer["status"], answer["body"]["error"]["code"]) == (400, "invalid_json")

    def test_a_client_must_authenticate_within_ten_seconds(self, server, open_socket, update):
        silent, refused, early = (open_socket() for _ in range(3))
        before = server.top10()
        refused.send('40{"token":"x"}')
        early.send("42" + json.dumps(["update_score", update]))

        assert refused.recv().startswith("44")
        assert all(self.is_closed(socket) for socket in (silent, refused, early))
        assert server.top10() == before

    def test_the_log_has_no_traceback_and_no_token(self, server, users):
        """Runs after all tests of this module, which use the same server."""
        for token in ("secret-token-in-a-query", users["viewer"].token):
            assert plain_refusal(server, token + "x", "query") == (401, "token_invalid")

        log = server.log()
        for secret in ("secret-token-in-a-query", users["viewer"].token):
            assert secret not in log
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
            answers = list(pool.map(post, [repeated] * count))

        [receipt] = [answer.json() for answer in answers if answer.status_code == 200]
        refused = [answer.json()["error"] for answer in answers if answer.status_code == 400]
        assert [(error["code"], error["receipt"]) for error in refused] == [
            ("replayed", receipt)
        ] * (count - 1)


def viewer_token(server):
    return requests.post(f"{server.url}/api/auth/viewer", timeout=10).json()["access_token"]


def test_more_than_a_thousand_clients_are_served_at_once(own_server):
    """More than the 1,024 connections at which eventlet's server stops by default."""
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 4000:
        missing("this machine allows too few open files")
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (4000, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    )
    server = own_server(CONNECTIONS_PER_ADDRESS="1200")

    assert asyncio.run(count_boards(server, viewer_token(server), 1100)) == 1100


async def count_boards(server, token, count):
    """Open plain WebSockets and return how many got the board while all were open."""
    request = (
        f"GET /ws/scoreboard?token={token} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    opened = []
    for _ in range(count):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request.encode())
        opened.append((reader, writer))
    boards = 0
    for reader, _ in opened:
        board = await asyncio.wait_for(reader.readuntil(b'"top_10_scores":[]}}'), 20)
        boards += b"top_10_update" in board
    for _, writer in opened:
        writer.close()
    return boards


def test_connections_are_limited_by_address(own_server, closing):
    server = own_server(CONNECTIONS_PER_ADDRESS="3")
    person = server.user("Ann")
    for connect in (WebSocketClient, WebSocketClient, SocketIoClient):
        closing(connect(server.url, person.token))

    refused = closing(NodeClient(server.url, person.token, "websocket"))

    assert plain_refusal(server, person.token) == (429, "too_many_connections")
    assert refused.wait_for_event("connect_error")["code"] == "too_many_connections"


def test_a_connection_that_ends_is_no_longer_counted(own_server, closing):
    server = own_server(CONNECTIONS_PER_ADDRESS="1")
    token = viewer_token(server)
    WebSocketClient(server.url, token).close()

    def is_accepted():
        try:
            closing(WebSocketClient(server.url, token))
        except websocket.WebSocketBadStatusException:
            return False
        return True

    wait_until(is_accepted)


@pytest.mark.parametrize("mode", RUN_MODES)
def test_a_client_that_upgrades_during_updates_gets_each_once_and_in_order(
    own_server, mode, closing
):
    server, enough = own_server(mode), threading.Event()
    player, sent = server.user("Ann"), []

    def post():
        while not enough.is_set():
            assert server.send(player.token, player.update(len(sent)))[0] == 200
            sent.append(len(sent))

    def wait_for(are_enough):
        for viewer in viewers:
            viewer.wait_for(lambda messages: are_enough(scores(messages)), 20)
        for node in nodes:
            node.wait_for(lambda lines: are_enough(scores(updates(lines))), 20)

    with ThreadPoolExecutor(1) as pool:
        posting = pool.submit(post)
        try:
            wait_until(lambda: sent)
            nodes = [
                closing(NodeClient(server.url, player.token, "polling,websocket")) for _ in range(4)
            ]
            viewers = [closing(SocketIoClient(server.url, player.token)) for _ in range(12)]
            assert {node.wait_for_event("upgrade") for node in nodes} == {"websocket"}
            wait_for(lambda scores: len(scores) > 3)
        finally:
            enough.set()
        posting.result(20)

    wait_for(lambda scores: scores[-1:] == sent[-1:])
    for messages in [v.messages() for v in viewers] + [updates(n.messages()) for n in nodes]:
        assert messages[0]["type"] == "top_10_update"
        first = messages[0]["data"]["top_10_scores"][0]["score"] + 1
        assert scores(messages) == list(range(first, sent[-1] + 1))


def scores(messages):
    return [m["data"]["new_score"] for m in messages if m["type"] == "score_update"]
