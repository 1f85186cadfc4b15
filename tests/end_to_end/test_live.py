"""The live board on a real server, run both ways, watched by real clients."""

import asyncio
import contextlib
import json
import select
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import requests
import socketio.exceptions
import websocket

from tests.support.prerequisites import missing
from tests.support.subscribers import NodeViewer, PlainViewer, SocketIoViewer
from tests.support.tokens import mint
from tests.support.waiting import wait_until

TRANSPORTS = {"websocket": ["websocket"], "polling": ["polling"], "default": None}
NODE_TRANSPORTS = ["websocket", "polling", "polling,websocket"]


@pytest.fixture
def moments():
    """Return an endless row of timestamps, each later than every one before it in this run."""

    def row():
        while True:
            yield datetime.now(UTC).isoformat()

    return row()


@pytest.fixture
def refresh_token(server):
    return server.sign_in("The-player")["refresh_token"]


@pytest.fixture
def bad_tokens(people, refresh_token):
    user_id = people["viewer"].user_id
    expired = datetime.now(UTC) - timedelta(seconds=1)
    return {
        "token_missing": None,
        "token_invalid": mint(user_id, key="k" * 48),
        "token_expired": mint(user_id, exp=expired),
        "token_type": refresh_token,
    }


def expected_messages(server, player, value):
    """Return what an update of this player sends if it changes the top 10."""
    entry = {"user_id": player.user_id, "new_score": value}
    return [
        {"type": "score_update", "data": entry},
        {"type": "top_10_update", "data": {"top_10_scores": server.top10()}},
    ]


@pytest.mark.parametrize("transports", TRANSPORTS)
class TestPythonSocketIo:
    def test_the_present_top_10_comes_first(self, server, people, watching, transports):
        viewer = watching(
            SocketIoViewer(server.url, people["viewer"].token, TRANSPORTS[transports])
        )

        first = viewer.wait_for_count(1)[0]

        assert first == {"type": "top_10_update", "data": {"top_10_scores": server.top10()}}

    def test_an_update_over_http_reaches_the_viewer(
        self, server, people, watching, transports, moments
    ):
        viewer = watching(
            SocketIoViewer(server.url, people["viewer"].token, TRANSPORTS[transports])
        )
        viewer.wait_for_count(1)
        player = people["player"]
        value = len(server.top10()) + datetime.now().timestamp()

        server.post(player.token, player.update(value, next(moments)))

        assert viewer.wait_for_count(3)[1:] == expected_messages(server, player, value)

    def test_an_update_by_event_does_what_the_endpoint_does(
        self, server, people, watching, transports, moments
    ):
        player = people["player"]
        viewer = watching(SocketIoViewer(server.url, player.token, TRANSPORTS[transports]))
        viewer.wait_for_count(1)
        value = datetime.now().timestamp()

        answer = viewer.submit(player.update(value, next(moments)))

        assert answer["status"] == 200
        assert answer["body"].keys() == {"user_id", "score", "score_id", "created_at", "applied"}
        assert viewer.wait_for_count(3)[1:] == expected_messages(server, player, value)

    def test_a_bad_token_is_refused_with_the_code(self, server, bad_tokens, transports):
        for code, token in bad_tokens.items():
            viewer = SocketIoViewer.__new__(SocketIoViewer)
            with pytest.raises(socketio.exceptions.ConnectionError):
                viewer.__init__(server.url, token, TRANSPORTS[transports])
            assert viewer.refusal["data"]["code"] == code
            assert viewer.messages() == []


@pytest.mark.parametrize("transports", NODE_TRANSPORTS)
class TestJavaScript:
    def test_the_ordinary_client_watches_and_submits(
        self, server, people, watching, transports, moments
    ):
        player, value = people["player"], datetime.now().timestamp()
        update = player.update(value, next(moments))

        viewer = watching(NodeViewer(server.url, player.token, transports, update))

        assert viewer.said("open") == transports.split(",")[0]
        assert viewer.said("ack")["status"] == 200
        told = expected_messages(server, player, value)
        viewer.wait_for(lambda lines: told[1] in [line["value"] for line in lines])
        lines = [line["value"] for line in viewer.messages() if "_update" in line["what"]]
        assert lines[0]["type"] == "top_10_update"
        assert lines[1:] == told
        if transports == "polling,websocket":
            assert viewer.said("upgrade") == "websocket"

    def test_a_bad_token_is_a_connect_error_with_the_code(
        self, server, bad_tokens, watching, transports
    ):
        for code, token in bad_tokens.items():
            viewer = watching(NodeViewer(server.url, token, transports))
            assert viewer.said("connect_error")["code"] == code
            assert "connect" not in [line["what"] for line in viewer.messages()]


class TestPlainWebSocket:
    @pytest.mark.parametrize("how", ["query", "header", "subprotocol"])
    def test_the_present_top_10_comes_first(self, server, people, watching, how):
        viewer = watching(PlainViewer(server.url, people["viewer"].token, how))

        first = viewer.wait_for_count(1)[0]

        assert first == {"type": "top_10_update", "data": {"top_10_scores": server.top10()}}
        assert viewer.socket.getsubprotocol() == ("scoreboard" if how == "subprotocol" else None)

    def test_an_update_reaches_the_viewer(self, server, people, watching, moments):
        viewer = watching(PlainViewer(server.url, people["viewer"].token))
        viewer.wait_for_count(1)
        player, value = people["player"], datetime.now().timestamp()

        server.post(player.token, player.update(value, next(moments)))

        assert viewer.wait_for_count(3)[1:] == expected_messages(server, player, value)

    def test_a_public_viewer_token_is_enough(self, server, watching):
        answer = requests.post(f"{server.url}/api/auth/viewer", timeout=10)

        viewer = watching(PlainViewer(server.url, answer.json()["access_token"], "query"))

        assert viewer.wait_for_count(1)

    def test_a_bad_token_is_refused_before_the_upgrade(self, server, bad_tokens):
        for code, token in bad_tokens.items():
            with pytest.raises(websocket.WebSocketBadStatusException) as refusal:
                PlainViewer(server.url, token)
            assert refusal.value.status_code == 401
            assert json.loads(refusal.value.resp_body)["error"]["code"] == code

    def test_a_foreign_page_is_refused(self, server, people):
        with pytest.raises(websocket.WebSocketBadStatusException) as refusal:
            PlainViewer(server.url, people["viewer"].token, origin="https://evil.example")

        assert json.loads(refusal.value.resp_body)["error"]["code"] == "origin_not_allowed"

    def test_no_compression_is_accepted(self, server, people, watching):
        offer = ["Sec-WebSocket-Extensions: permessage-deflate"]
        viewer = watching(PlainViewer(server.url, people["viewer"].token, "query", header=offer))

        assert "sec-websocket-extensions" not in viewer.socket.getheaders()

    def test_without_an_upgrade_there_is_an_error_in_our_shape(self, server):
        answer = requests.get(f"{server.url}/ws/scoreboard", timeout=10)

        assert answer.status_code == 426
        assert answer.json()["error"]["code"] == "upgrade_required"

    def test_what_a_viewer_says_is_ignored(self, server, people, watching, moments):
        viewer = watching(PlainViewer(server.url, people["viewer"].token))
        viewer.socket.send("hello")
        viewer.socket.send_binary(b"\x00\xff")
        viewer.socket.ping()
        player, value = people["player"], datetime.now().timestamp()

        server.post(player.token, player.update(value, next(moments)))

        assert viewer.wait_for_count(3)

    def test_too_long_a_message_ends_the_connection(self, server, people, watching):
        viewer = watching(PlainViewer(server.url, people["viewer"].token))

        viewer.socket.send("x" * 100_000)

        assert viewer.ended.wait(10)
        assert viewer.code == 1009


class TestTheEndOfAConnection:
    def short_token(self, people, seconds=2):
        expires = datetime.now(UTC) + timedelta(seconds=seconds)
        return mint(people["viewer"].user_id, exp=expires)

    def test_socket_io_is_disconnected_when_the_token_expires(self, server, people, watching):
        viewer = watching(SocketIoViewer(server.url, self.short_token(people)))

        assert viewer.ended.wait(10)

    def test_the_ordinary_client_is_told_that_it_was_the_server(self, server, people, watching):
        viewer = watching(NodeViewer(server.url, self.short_token(people, 4), "websocket"))

        assert viewer.said("disconnect") == "io server disconnect"

    def test_a_plain_websocket_is_closed_when_the_token_expires(self, server, people, watching):
        viewer = watching(PlainViewer(server.url, self.short_token(people)))

        assert viewer.ended.wait(10)
        assert viewer.code == 4401

    def test_signing_out_closes_the_connections_of_the_session(self, server, people, watching):
        token = server.sign_in("The-player")["access_token"]
        plain = watching(PlainViewer(server.url, token))
        socket = watching(SocketIoViewer(server.url, token))
        other = watching(PlainViewer(server.url, people["player"].token))

        headers = {"Authorization": f"Bearer {token}"}
        requests.post(f"{server.url}/api/auth/logout", headers=headers, timeout=10)

        assert plain.ended.wait(10)
        assert plain.code == 4401
        assert socket.ended.wait(10)
        assert not other.ended.is_set()

    def test_a_role_taken_away_counts_at_once(self, server, watching, moments):
        player = server.user(f"Demoted-{server.port}")
        viewer = watching(SocketIoViewer(server.url, player.token))
        server.flask("users", "role", f"Demoted-{server.port}", "viewer")

        answer = viewer.submit(player.update(1, next(moments)))

        assert (answer["status"], answer["body"]["error"]["code"]) == (401, "not_permitted")


class TestEvents:
    @pytest.fixture
    def viewer(self, server, people, watching):
        return watching(SocketIoViewer(server.url, people["player"].token))

    @pytest.mark.parametrize("body", [None, "text", 7, [], {}, {"user_id": 7}], ids=str)
    def test_a_bad_body_is_acknowledged_as_such(self, viewer, body):
        answer = viewer.submit(body)

        assert answer["status"] == 400
        assert answer["body"]["error"]["code"] in ("invalid_json", "invalid_input")

    def test_a_replay_over_the_other_door_is_a_replay(self, server, people, viewer, moments):
        update = people["player"].update(1, next(moments))
        first = server.post(people["player"].token, update)

        answer = viewer.submit(update)

        assert (answer["status"], answer["body"]["error"]["code"]) == (400, "replayed")
        assert answer["body"]["error"]["receipt"] == first.json()

    def test_no_viewer_chooses_a_room_or_an_event(self, server, people, viewer, watching):
        other = watching(PlainViewer(server.url, people["viewer"].token))
        for event in ("join", "top_10_update", "score_update", "message", "my event"):
            viewer.client.emit(event, {"room": "scoreboard", "type": event})

        assert viewer.submit({})["status"] == 400
        assert len(other.wait_for_count(1)) == 1


class TestHostilePackets:
    """Straight Engine.IO over a WebSocket: what no client library sends."""

    @pytest.fixture(autouse=True)
    def _leaving(self):
        self.opened = []
        yield
        for socket in self.opened:
            socket.shutdown()

    def open(self, server, token=None):
        address = server.url.replace("http", "ws") + "/ws/scoreboard/?EIO=4&transport=websocket"
        socket = websocket.create_connection(address, timeout=20)
        self.opened.append(socket)
        assert socket.recv().startswith("0{")
        if token:
            socket.send("40" + json.dumps({"token": token}))
            assert socket.recv().startswith("40{")
        return socket

    def until_closed(self, socket):
        while socket.recv():
            pass
        return True

    @pytest.mark.parametrize(
        "packet",
        ["", "x", "9", "4", "42", "42{}", "42[]", "42[7]", "42[[1],2]", "42" + "[" * 5000],
    )
    def test_a_malformed_packet_ends_the_connection(self, server, people, packet):
        socket = self.open(server, people["viewer"].token)

        socket.send(packet)

        assert self.until_closed(socket)

    @pytest.mark.parametrize("name", ["connect", "disconnect"])
    def test_an_event_named_as_the_library_names_its_own_ends_the_connection(
        self, server, people, name
    ):
        socket = self.open(server, people["viewer"].token)

        socket.send(f'421["{name}","a","b"]')

        assert self.until_closed(socket)

    @pytest.mark.parametrize("body", ["[" * 3000, "1" * 5000, "{", '"half'], ids=len)
    def test_an_update_that_cannot_be_read_is_acknowledged_as_such(self, server, people, body):
        socket = self.open(server, people["player"].token)
        assert "top_10_update" in socket.recv()

        socket.send(f'427["update_score",{body}]')

        answer = json.loads(socket.recv().removeprefix("437"))[0]
        assert (answer["status"], answer["body"]["error"]["code"]) == (400, "invalid_json")

    def test_a_session_is_upgraded_to_one_websocket_only(self, server):
        address = f"{server.url}/ws/scoreboard/?EIO=4&transport="
        sid = json.loads(requests.get(f"{address}polling", timeout=10).text[1:])["sid"]
        url = f"{address.replace('http', 'ws')}websocket&sid={sid}"
        both = [websocket.create_connection(url, timeout=20) for _ in range(2)]
        self.opened += both

        # Where each has a thread, either may be the one that comes first.
        [refused], _, _ = select.select(both, [], [], 20)
        assert self.until_closed(refused)

        both.remove(refused)
        both[0].send("2probe")
        assert both[0].recv() == "3probe"
        # Or it would be open, and counted, until it should have authenticated.
        requests.post(f"{address}polling&sid={sid}", data="1", timeout=10)

    def test_who_pings_and_never_reads_is_closed(self, server, people):
        socket = self.open(server, people["viewer"].token)
        with_it = self.connections(server)
        ping = websocket.ABNF.create_frame(b"x" * 125, websocket.ABNF.OPCODE_PING).format()
        socket.settimeout(1)

        def flood():
            for _ in range(2_000):
                socket.sock.sendall(ping * 500)

        # The kernel may go on for a while without telling that there is nobody any more.
        with pytest.raises(OSError, match=r"Broken pipe|reset|timed out"):
            flood()

        # Those of tests before may still be counted, and go meanwhile: no more can be told.
        wait_until(lambda: self.connections(server) < with_it)
        assert self.is_hung_up_on(socket)

    def is_hung_up_on(self, socket):
        """Read all that is left until the end. Raises TimeoutError if there is none."""
        socket.settimeout(10)
        with contextlib.suppress(ConnectionError):
            while socket.sock.recv(65536):
                pass
        return True

    def connections(self, server):
        metrics = requests.get(f"{server.url}/metrics", timeout=10).text.splitlines()
        lines = [line for line in metrics if line.startswith("scoreboard_connections{")]
        assert lines
        return sum(float(line.split()[-1]) for line in lines)

    @pytest.mark.parametrize("packet", ['451-["x",{"_placeholder":true,"num":0}]', "43[]", "44"])
    def test_a_packet_no_client_needs_ends_the_connection(self, server, people, packet):
        socket = self.open(server, people["viewer"].token)

        socket.send(packet)

        assert self.until_closed(socket)

    def test_binary_ends_the_connection(self, server, people):
        socket = self.open(server, people["viewer"].token)

        socket.send_binary(b"\x04\x00")

        assert self.until_closed(socket)

    def test_too_large_a_packet_ends_the_connection(self, server, people):
        socket = self.open(server, people["viewer"].token)

        socket.send("42" + json.dumps(["update_score", "x" * 100_000]))

        assert self.until_closed(socket)

    def test_who_has_not_authenticated_after_ten_seconds_is_closed(self, server, people, moments):
        silent, refused, early = (self.open(server) for _ in range(3))
        before = server.top10()
        refused.send('40{"token":"x"}')
        early.send("42" + json.dumps(["update_score", people["player"].update(9e9, next(moments))]))

        assert refused.recv().startswith("44")
        assert all(self.until_closed(socket) for socket in (silent, refused, early))
        assert server.top10() == before

    def test_none_of_it_leaves_a_traceback_or_a_token_in_the_log(self, server, people):
        """Runs last in this class, after all of the above went into the same log."""
        for token in ("secret-token-in-a-query", people["viewer"].token):
            with pytest.raises(websocket.WebSocketBadStatusException):
                PlainViewer(server.url, token + "x", "query")

        log = server.log()
        assert "Traceback" not in log
        assert "secret-token-in-a-query" not in log
        assert people["viewer"].token not in log
        assert "Bad file descriptor" not in log


def test_what_is_sent_many_times_at_the_same_moment_counts_once(server, people, moments):
    player, times = people["player"], 12
    together = threading.Barrier(times)

    def post(update):
        together.wait(10)
        return server.post(player.token, update)

    for value in range(5):
        update = player.update(value, next(moments), nonce=uuid.uuid4().hex)
        with ThreadPoolExecutor(times) as pool:
            answers = list(pool.map(post, [update] * times))

        [receipt] = [answer.json() for answer in answers if answer.status_code == 200]
        refused = [answer.json()["error"] for answer in answers if answer.status_code == 400]
        assert [(told["code"], told["receipt"]) for told in refused] == [("replayed", receipt)] * (
            times - 1
        )


def test_a_thousand_viewers_and_more_are_held_at_once(tmp_path):
    """Beyond the 1,024 at which eventlet's server stops unless it is told otherwise."""
    import resource

    from tests.support.servers import Server

    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 4000:
        missing("this machine allows too few open files")
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (4000, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    )
    server = Server(tmp_path, CONNECTIONS_PER_ADDRESS="1200")
    try:
        token = requests.post(f"{server.url}/api/auth/viewer", timeout=10).json()["access_token"]
        assert asyncio.run(hold(server, token, 1100)) == 1100
    finally:
        server.stop()


async def hold(server, token, count):
    """Open this many plain WebSockets and return how many got the board while all were open."""
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


def test_connections_are_bounded_by_address_and_by_user(tmp_path, watching):
    from tests.support.servers import Server

    server = Server(tmp_path, CONNECTIONS_PER_ADDRESS="3")
    try:
        person = server.user("Ann")
        for _ in range(2):
            watching(PlainViewer(server.url, person.token))
        watching(SocketIoViewer(server.url, person.token))

        with pytest.raises(websocket.WebSocketBadStatusException) as plain:
            PlainViewer(server.url, person.token)
        refused = SocketIoViewer.__new__(SocketIoViewer)
        with pytest.raises(socketio.exceptions.ConnectionError):
            refused.__init__(server.url, person.token)

        assert plain.value.status_code == 429
        assert refused.refusal["data"]["code"] == "too_many_connections"
    finally:
        server.stop()


def test_a_connection_that_ends_makes_room_for_the_next(tmp_path, watching):
    from tests.support.servers import Server

    server = Server(tmp_path, CONNECTIONS_PER_ADDRESS="1")
    try:
        token = requests.post(f"{server.url}/api/auth/viewer", timeout=10).json()["access_token"]
        PlainViewer(server.url, token).close()

        def fits():
            try:
                watching(PlainViewer(server.url, token))
            except websocket.WebSocketBadStatusException:
                return False
            return True

        wait_until(fits)
    finally:
        server.stop()
