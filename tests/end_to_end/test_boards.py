"""Real clients that watch boards on real servers, of one process and of two."""

import functools
import itertools
import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import requests
import websocket
from socketio.exceptions import ConnectionError as SocketIoError

from scoreboard.http.refusal_limiter import MAX_REFUSALS
from scoreboard.realtime.useless_traffic import MAX_FRAMES
from tests.support import databases
from tests.support.backing_services import RedisServer
from tests.support.clocks import Clock
from tests.support.football import seed
from tests.support.servers import SignedInUser, start_servers, stop_all
from tests.support.subscribers import NodeClient, SocketIoClient, WebSocketClient
from tests.support.tokens import mint
from tests.support.waiting import wait_until

CLIENTS = {
    "websocket": functools.partial(SocketIoClient, transports=["websocket"]),
    "polling": functools.partial(SocketIoClient, transports=["polling"]),
    "upgrade": SocketIoClient,
    "plain": WebSocketClient,
}
NUMBERED = [f"board-{number}" for number in range(21)]


class Boards:
    """The boards of a server, managed by an admin."""

    def __init__(self, server):
        self._server, self._admin = server, server.user("boss", "admin")

    def create(self, board_id, source="main", **fields):
        new = {"board_id": board_id, "title": board_id.title(), "source": source, **fields}
        return self._request("POST", "", json=new)

    def change(self, board_id, **changes):
        return self._request("PATCH", f"/{board_id}", json=changes)

    def end_season(self, board_id):
        return self._request("POST", f"/{board_id}/seasons")

    def archive(self, board_id):
        self._request("DELETE", f"/{board_id}")

    def _request(self, method, path, **options):
        url = f"{self._server.url}/api/admin/boards{path}"
        response = requests.request(method, url, headers=self._admin.bearer, timeout=10, **options)
        assert response.ok, response.text
        return response.json() if response.content else None


@pytest.fixture(scope="module")
def boards(server):
    """Return the boards of a server of each mode: `weekly` and `speedrun`."""
    boards = Boards(server)
    boards.create("weekly", policy="total")
    boards.create("speedrun", None, order="asc", policy="best")
    return boards


@pytest.fixture(scope="module")
def player(server):
    return server.user("Ann")


@pytest.fixture(scope="module")
def one_server(start):
    """Return a server with boards that can be watched, and others that cannot."""
    server = start()
    boards = Boards(server)
    for board_id in ("weekly", "old"):
        boards.create(board_id)
    boards.create("staff", None, public=False)
    for board_id in NUMBERED:
        boards.create(board_id, None)
    boards.archive("old")
    return server


@pytest.fixture(scope="module")
def viewer(one_server):
    """Return the token of a viewer of `one_server`."""
    response = requests.post(f"{one_server.url}/api/auth/viewer", timeout=10)
    return response.json()["access_token"]


def new_update(user, value, **more):
    return user.update(value, datetime.now(UTC).isoformat(), nonce=uuid.uuid4().hex, **more)


def summary(message):
    """Return what identifies a message: board, season, type and the scores in it."""
    data = message["data"]
    content = {
        "score_update": lambda: (data["username"], data["new_score"]),
        "top_10_update": lambda: [
            (line["rank"], line["username"], line["score"]) for line in data["top_10_scores"]
        ],
        "board_update": lambda: data["title"],
    }[message["type"]]()
    return message["board"], message["season"], message["type"], content


def socket_io(server, auth, *packets):
    """Connect by Socket.IO, send encoded packets, and yield those received after the CONNECT."""
    address = f"{server.url.replace('http', 'ws', 1)}/ws/scoreboard/?EIO=4&transport=websocket"
    connection = websocket.create_connection(address, timeout=10)
    connection.recv()
    connection.send("40" + json.dumps(auth))
    assert connection.recv().startswith("40")
    for each in packets:
        connection.send("4" + each)
    while True:
        yield connection.recv()


class TestMessages:
    """On a server of every mode, and on three processes."""

    @pytest.mark.parametrize("connect", CLIENTS.values(), ids=CLIENTS)
    def test_a_connection_gets_the_boards_it_names(self, server, boards, player, closing, connect):
        boards.end_season("weekly")
        season = boards.end_season("speedrun")["season"]["number"]
        subscriber = closing(connect(server.url, player.token, boards=["speedrun", "weekly"]))
        first = [summary(message) for message in subscriber.wait_for_count(2)]
        assert [each[0] for each in first] == ["speedrun", "weekly"]

        server.post(player.token, new_update(player, 80, board="speedrun"))
        messages = subscriber.wait_for_count(4)
        server.post(player.token, new_update(player, 7))
        messages = subscriber.wait_for_count(6)
        boards.change("speedrun", title="New")
        messages = subscriber.wait_for_count(7)
        boards.change("speedrun", title="Speedrun")
        messages = subscriber.wait_for_count(8)
        boards.end_season("speedrun")
        messages = subscriber.wait_for_count(10)

        assert [summary(message) for message in messages[2:]] == [
            ("speedrun", season, "score_update", ("Ann", 80)),
            ("speedrun", season, "top_10_update", [(1, "Ann", 80)]),
            ("weekly", first[1][1], "score_update", ("Ann", 7)),
            ("weekly", first[1][1], "top_10_update", [(1, "Ann", 7)]),
            ("speedrun", season, "board_update", "New"),
            ("speedrun", season, "board_update", "Speedrun"),
            ("speedrun", season + 1, "board_update", "Speedrun"),
            ("speedrun", season + 1, "top_10_update", []),
        ]
        board = requests.get(f"{server.url}/api/boards/speedrun", timeout=10).json()
        assert messages[-2]["data"] == board

    @pytest.mark.parametrize("transports", ["websocket", "polling", "polling,websocket"])
    def test_a_javascript_client_gets_the_list_before_the_acknowledgement(
        self, server, boards, player, closing, transports
    ):
        boards.end_season("weekly")
        node = closing(
            NodeClient(
                server.url, player.token, transports, boards=["weekly"], subscribe="speedrun"
            )
        )

        lines = node.wait_for(lambda lines: any(line["event"] == "ack" for line in lines), 20)
        server.post(player.token, new_update(player, 7))

        lines = [line for line in lines if line["event"] not in ("open", "upgrade")]
        assert [line["event"] for line in lines] == ["top_10_update", "top_10_update", "ack"]
        assert [line["value"].get("board") for line in lines[:2]] == ["weekly", "speedrun"]
        assert lines[2]["value"] == {"status": 200, "body": {"board": "speedrun"}}
        node.wait_for(
            lambda lines: (
                "score_update" in [line["event"] for line in lines]
                and lines[-1]["value"]["board"] == "weekly"
            )
        )

    def test_subscriptions_change_while_connected(self, server, boards, player, closing):
        subscriber = closing(SocketIoClient(server.url, player.token, boards=[]))
        subscribed = subscriber.call("subscribe", {"board": "speedrun"})
        assert subscribed == {"status": 200, "body": {"board": "speedrun"}}
        assert [message["type"] for message in subscriber.messages()] == ["top_10_update"]

        assert subscriber.call("subscribe", {"board": "weekly"})["status"] == 200
        unsubscribed = subscriber.call("unsubscribe", {"board": "speedrun"})
        boards.change("speedrun", title="Unseen")
        server.post(player.token, new_update(player, 7))

        assert unsubscribed == {"status": 200, "body": {"board": "speedrun"}}
        messages = subscriber.wait_for_count(4)
        assert [message["board"] for message in messages] == ["speedrun", *["weekly"] * 3]
        boards.change("speedrun", title="Speedrun")


class TestBadInput:
    """Every wrong field of the handshakes and events has a code, and changes nothing."""

    @pytest.mark.parametrize(
        ("query", "status", "code"),
        [
            ("board=nix", 404, "unknown_board"),
            ("board=old", 404, "unknown_board"),
            ("board=weekly,nix", 404, "unknown_board"),
            ("board=weekly&board=nix", 404, "unknown_board"),
            ("board=staff", 401, "not_permitted"),
            ("board=weekly,staff", 401, "not_permitted"),
            ("board=", 400, "invalid_input"),
            ("board", 400, "invalid_input"),
            ("board=weekly,", 400, "invalid_input"),
            ("board=,", 400, "invalid_input"),
            ("board=Weekly", 400, "invalid_input"),
            ("board=weekly%20", 400, "invalid_input"),
            ("board=%00", 400, "invalid_input"),
            ("board=" + "a" * 33, 400, "invalid_input"),
            ("board=" + ",".join(NUMBERED), 400, "invalid_input"),
            ("board=" + ",".join(["weekly"] * 21), 400, "invalid_input"),
        ],
    )
    def test_a_plain_handshake_is_refused(self, one_server, viewer, query, status, code):
        address = f"{one_server.url.replace('http', 'ws', 1)}/ws/scoreboard?token={viewer}&{query}"

        with pytest.raises(websocket.WebSocketBadStatusException) as refused:
            websocket.create_connection(address, timeout=10)

        assert refused.value.status_code == status
        assert json.loads(refused.value.resp_body)["error"]["code"] == code

    @pytest.mark.parametrize(
        ("boards", "code"),
        [
            (["nix"], "unknown_board"),
            (["old"], "unknown_board"),
            (["weekly", "nix"], "unknown_board"),
            (["staff"], "not_permitted"),
            (["weekly", "staff"], "not_permitted"),
            ("weekly", "invalid_input"),
            ({"weekly": 1}, "invalid_input"),
            (1, "invalid_input"),
            (True, "invalid_input"),
            ("", "invalid_input"),
            ([""], "invalid_input"),
            ([1], "invalid_input"),
            ([None], "invalid_input"),
            ([["weekly"]], "invalid_input"),
            ([{"board": "weekly"}], "invalid_input"),
            (["Weekly"], "invalid_input"),
            (["weekly\n"], "invalid_input"),
            (["a" * 33], "invalid_input"),
            (NUMBERED, "invalid_input"),
            (["weekly"] * 21, "invalid_input"),
        ],
    )
    def test_a_socket_io_handshake_is_refused(self, one_server, viewer, boards, code):
        refusals = []

        class Refused(SocketIoClient):
            def _refused(self, error):
                refusals.append(error)

        with pytest.raises(SocketIoError):
            Refused(one_server.url, viewer, ["websocket"], boards)

        assert [refusal["data"]["code"] for refusal in refusals] == [code]

    def test_20_boards_and_repeated_boards_are_accepted(self, one_server, viewer, closing):
        many = closing(WebSocketClient(one_server.url, viewer, boards=NUMBERED[:20]))
        twice = closing(SocketIoClient(one_server.url, viewer, boards=["weekly", "weekly"]))

        assert [message["board"] for message in many.wait_for_count(20)] == NUMBERED[:20]
        assert twice.call("subscribe", {"board": "weekly"})["status"] == 200
        assert len(twice.messages()) == 1

    def test_null_names_no_boards(self, one_server, viewer):
        """JavaScript clients may send null for a value that is not set."""
        packets = socket_io(one_server, {"token": viewer, "boards": None})

        name, message = json.loads(next(packets).removeprefix("42"))

        assert (name, message.keys()) == ("top_10_update", {"type", "data"})

    @pytest.mark.parametrize("event", ["subscribe", "unsubscribe"])
    @pytest.mark.parametrize(
        ("body", "status", "code"),
        [
            (None, 400, "invalid_json"),
            ("weekly", 400, "invalid_json"),
            (["weekly"], 400, "invalid_json"),
            ({}, 400, "invalid_input"),
            ({"board": None}, 400, "invalid_input"),
            ({"board": 1}, 400, "invalid_input"),
            ({"board": ["weekly"]}, 400, "invalid_input"),
            ({"board": "Weekly"}, 400, "invalid_input"),
            ({"board": ""}, 400, "invalid_input"),
            ({"board": "weekly", "season": 1}, 400, "invalid_input"),
            ({str(number): 1 for number in range(30)}, 400, "invalid_input"),
        ],
    )
    def test_a_wrong_event_is_refused(self, one_server, viewer, closing, event, body, status, code):
        client = closing(SocketIoClient(one_server.url, viewer, boards=["weekly"]))

        acknowledged = client.call(event, body)

        assert (acknowledged["status"], acknowledged["body"]["error"]["code"]) == (status, code)
        assert client.call("subscribe", {"board": "weekly"})["status"] == 200
        assert len(client.messages()) == 1  # it still watches

    @pytest.mark.parametrize(
        ("board", "status", "code"),
        [
            ("nix", 404, "unknown_board"),
            ("old", 404, "unknown_board"),
            ("staff", 401, "not_permitted"),
        ],
    )
    def test_a_board_that_cannot_be_watched_is_refused(
        self, one_server, viewer, closing, board, status, code
    ):
        client = closing(SocketIoClient(one_server.url, viewer, boards=[]))

        acknowledged = client.call("subscribe", {"board": board})

        assert (acknowledged["status"], acknowledged["body"]["error"]["code"]) == (status, code)
        assert client.call("unsubscribe", {"board": board})["status"] == 200
        assert client.messages() == []

    def test_the_21st_board_is_refused(self, one_server, viewer, closing):
        client = closing(SocketIoClient(one_server.url, viewer, boards=NUMBERED[:20]))

        acknowledged = client.call("subscribe", {"board": NUMBERED[20]})
        client.call("unsubscribe", {"board": NUMBERED[0]})

        assert acknowledged["status"] == 400
        assert acknowledged["body"]["error"]["code"] == "invalid_input"
        assert client.call("subscribe", {"board": NUMBERED[20]})["status"] == 200

    @pytest.mark.parametrize("event", ["subscribe", "unsubscribe"])
    def test_an_unreadable_event_is_refused(self, one_server, viewer, event):
        packet = f'27["{event}",{{"board":]'

        packets = socket_io(one_server, {"token": viewer, "boards": []}, packet)

        (acknowledged,) = json.loads(next(packets).removeprefix("437"))
        assert acknowledged["status"] == 400
        assert acknowledged["body"]["error"]["code"] == "invalid_json"

    def test_too_many_events_are_refused(self, one_server, viewer, closing):
        client = closing(SocketIoClient(one_server.url, viewer, ["websocket"], boards=[]))

        responses = []
        # Without waiting for each response: a slow machine must not be below the limit.
        for event in ("subscribe", "unsubscribe") * (MAX_FRAMES // 2) + ("subscribe",):
            client.client.emit(event, {"board": "weekly"}, callback=responses.append)
        wait_until(lambda: len(responses) == MAX_FRAMES + 1)

        *accepted, refused = responses
        assert {response["status"] for response in accepted} == {200}
        assert (refused["status"], refused["body"]["error"]["code"]) == (429, "rate_limited")

    def test_a_flood_of_events_blocks_its_address(self, own_server):
        server = own_server()
        client = SocketIoClient(server.url, server.user("Ann").token, ["websocket"], boards=[])

        for _ in range(MAX_REFUSALS + 2 * MAX_FRAMES):
            client.client.emit("subscribe", {"board": "main"})

        assert client.ended.wait(10)
        with pytest.raises((requests.ConnectionError, requests.HTTPError)):
            requests.get(f"{server.url}/api/boards", timeout=10).raise_for_status()


UPDATES = 200
LEDGERS = {"main": ["main", "daily", "lowest"], "speedrun": ["speedrun"]}


@pytest.mark.parametrize("shares_by_redis", [True, False], ids=["Redis", "no Redis"])
class TestTwoProcesses:
    """They share a Postgres, and without Redis each reads the updates of the other from it."""

    @pytest.fixture
    def servers(self, tmp_path, shares_by_redis):
        settings = {"DATABASE_URL": databases.new_database()}
        redis = RedisServer(tmp_path) if shares_by_redis else None
        if redis:
            settings["REDIS_URL"] = redis.url
        servers = start_servers(tmp_path, 2, **settings)
        yield servers
        stop_all(servers)
        if redis:
            redis.stop()

    @pytest.fixture
    def boards(self, servers):
        boards = Boards(servers[0])
        boards.create("daily", policy="total")
        boards.create("lowest", policy="best", order="asc")
        boards.create("speedrun", None)
        return boards

    @pytest.fixture
    def scorer(self, servers):
        return servers[0].user("game", "scorer")

    def test_every_update_comes_once_and_in_order_on_every_board(
        self, servers, boards, scorer, closing
    ):
        users = [SignedInUser(user_id, "") for user_id in seed(servers[0], 15)]
        subscribers = [
            closing(
                kind(
                    server.url,
                    scorer.token,
                    boards=[board for each in LEDGERS.values() for board in each],
                )
            )
            for server in servers
            for kind in (WebSocketClient, SocketIoClient)
        ]
        old = [closing(WebSocketClient(server.url, scorer.token)) for server in servers]
        for each in subscribers:
            each.wait_for_count(4)

        def post(number):
            named = {"board": "speedrun"} if number % 2 else {}
            update = new_update(users[number % 15], number, **named)
            return servers[number // 2 % 2].post(scorer.token, update).json()["score_id"]

        with ThreadPoolExecutor(8) as pool:
            posted = set(pool.map(post, range(UPDATES)))
            second_half = pool.map(post, range(UPDATES, 2 * UPDATES))
            boards.end_season("daily")
            boards.end_season("speedrun")
            assert len(posted.union(second_half)) == 2 * UPDATES

        for each in subscribers:
            each.wait_for(lambda messages: count(messages, "score_update") >= 4 * UPDATES, 30)
        for each in old:
            each.wait_for(lambda messages: count(messages, "score_update") >= UPDATES, 30)
        wait_until(lambda: len({str(final(each)) for each in subscribers}) == 1)
        for board in final(subscribers[0]):
            check_board(servers[0], board, [on_board(each, board) for each in subscribers])
        scores = [
            [m["data"] for m in each.messages() if m["type"] == "score_update"] for each in old
        ]
        assert len(scores[0]) == UPDATES
        assert scores[0] == scores[1]

    def test_a_process_may_watch_one_of_two_ledgers(self, servers, boards, scorer, closing):
        user = servers[0].user("Ann")
        subscribers = [
            closing(WebSocketClient(servers[1].url, scorer.token, boards=["speedrun"])),
            closing(WebSocketClient(servers[0].url, scorer.token, boards=["main"])),
        ]
        for each in subscribers:
            each.wait_for_count(1)

        for number in range(20):
            for server in servers:
                for named in ({}, {"board": "speedrun"}):
                    update = new_update(user, number, **named)
                    assert server.post(scorer.token, update).ok

        for each, board in zip(subscribers, ("speedrun", "main"), strict=True):
            messages = each.wait_for(lambda m: count(m, "score_update") >= 40)
            scores = [m["data"]["new_score"] for m in messages if m["type"] == "score_update"]
            assert scores == [number for number in range(20) for _ in range(2)]
            assert {message["board"] for message in each.messages()} == {board}


class TestWithoutTraffic:
    """Two processes without Redis and without updates notice the time by themselves."""

    @pytest.fixture
    def clock(self, tmp_path):
        return Clock(tmp_path / "clock")

    @pytest.fixture
    def servers(self, tmp_path, clock):
        servers = start_servers(
            tmp_path, 2, DATABASE_URL=databases.new_database(), **clock.environment
        )
        yield servers
        stop_all(servers)

    def test_a_season_and_a_board_change_within_seconds(self, servers, clock, closing):
        boards, player = Boards(servers[0]), servers[0].user("Ann")
        token = mint(player.user_id, exp=datetime.now(UTC) + timedelta(days=9))
        half_a_day = datetime.now(UTC) + timedelta(hours=12)
        reset = {"every": "day", "at": f"{half_a_day:%H:%M}", "time_zone": "Etc/UTC"}
        ends_at = boards.create("daily", reset=reset)["season"]["ends_at"]
        boards.create("final", None, closes_at=ends_at)
        subscribers = [
            closing(WebSocketClient(server.url, token, boards=["daily", "final"]))
            for server in servers
        ]
        servers[0].post(token, new_update(player, 7))
        for each in subscribers:
            each.wait_for_count(4)

        remaining = datetime.fromisoformat(ends_at) - datetime.now(UTC)
        clock.set(round(remaining.total_seconds()) + 1)

        for each in subscribers:
            each.wait_for_count(7, seconds=5)
        update = player.update(5, ends_at)
        assert servers[1].post(token, update).status_code == 200
        for each in subscribers:
            messages = each.wait_for_count(9)
            assert [summary(m) for m in messages if m["board"] == "daily"][3:] == [
                ("daily", 2, "board_update", "Daily"),
                ("daily", 2, "top_10_update", []),
                ("daily", 2, "score_update", ("Ann", 5)),
                ("daily", 2, "top_10_update", [(1, "Ann", 5)]),
            ]
            states = [m["data"] for m in messages if m["board"] == "final"]
            assert [data.get("state") for data in states] == [None, "closed"]


def count(messages, kind):
    return sum(message["type"] == kind for message in messages)


def on_board(subscriber, board):
    return [message for message in subscriber.messages() if message["board"] == board]


def final(subscriber):
    """Return the last list of each board."""
    lists = [message for message in subscriber.messages() if message["type"] == "top_10_update"]
    return {message["board"]: message["data"]["top_10_scores"] for message in lists}


def check_board(server, board, of_subscribers):
    """Check the messages of one board at several subscribers, after UPDATES updates."""
    updates = [
        [(m["season"], *m["data"].values()) for m in messages if m["type"] == "score_update"]
        for messages in of_subscribers
    ]
    assert len(updates[0]) == UPDATES
    assert all(each == updates[0] for each in updates)
    has_two_seasons = board in ("daily", "speedrun")
    assert {season for season, *_ in updates[0]} == ({1, 2} if has_two_seasons else {1})
    top10 = requests.get(f"{server.url}/api/boards/{board}/top10", timeout=10).json()
    entries = [
        {name: entry[name] for name in ("user_id", "username", "score", "rank")}
        for entry in top10["top_10_scores"]
    ]
    for messages in of_subscribers:
        assert messages[0]["type"] == "top_10_update"
        lists = [m["data"]["top_10_scores"] for m in messages if m["type"] == "top_10_update"]
        assert lists[-1] == entries
        assert all(one != other or not other for one, other in itertools.pairwise(lists))
        changes = [n for n, m in enumerate(messages) if m["type"] == "board_update"]
        if has_two_seasons:
            (change,) = changes
            assert {m["season"] for m in messages[:change]} == {1}
            assert {m["season"] for m in messages[change:]} == {2}
            assert messages[change + 1]["data"]["top_10_scores"] == []
        else:
            assert changes == []
