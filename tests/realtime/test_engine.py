"""Engine.IO sessions: pings, sending, and the upgrade from polling to a WebSocket.

`test_on_eventlet.py` runs all of this on eventlet as well.
"""

import json
import math
import queue
import threading
from types import SimpleNamespace

import pytest
import socketio
from engineio import packet
from engineio.exceptions import QueueEmpty
from engineio.socket import Socket

from scoreboard.concurrency import runtime
from scoreboard.leaderboard.top10 import BoardChange, LedgerChange, NewScore
from scoreboard.models import MAIN
from scoreboard.observability.metrics import SOCKET_IO
from scoreboard.realtime import hub
from scoreboard.realtime.connections import LiveConnection
from scoreboard.realtime.socketio import engine, handlers, updates
from scoreboard.realtime.socketio.packets import StrictPacket
from scoreboard.realtime.websocket import connection as websocket
from scoreboard.services import services
from tests.support.frames import texts
from tests.support.waiting import wait_until
from tests.support.websocket_pairs import Pair


@pytest.fixture
def session():
    """Return a session of an Engine.IO server without an application."""
    library = socketio.Server(async_mode=runtime.ASYNC_MODE, monitor_clients=False).eio
    library.sockets["sid"] = Socket(library, "sid")
    socket = library.sockets["sid"]
    return engine.EngineSession.adopt(socket, on_slow=lambda: None, is_stopping=lambda: False)


@pytest.fixture
def pair():
    pair = Pair()
    yield pair
    pair.close()


class TestPings:
    @pytest.fixture
    def clock(self, monkeypatch):
        clock = SimpleNamespace(now=1000.0)
        monkeypatch.setattr(engine.time, "monotonic", lambda: clock.now)
        return clock

    def test_an_unanswered_ping_ends_the_session(self, session, clock):
        session.ping()
        clock.now += session.server.ping_timeout
        assert session.check_ping_timeout()

        clock.now += 1

        assert not session.check_ping_timeout()
        assert session.closed

    def test_an_answered_ping_keeps_the_session(self, session, clock):
        session.ping()
        session.receive(packet.Packet(packet.PONG))

        clock.now += 3600

        assert session.check_ping_timeout()

    def test_no_second_ping_is_sent_before_the_answer(self, session):
        session.ping()
        session.ping()

        assert [each.encode() for each in session.poll()] == ["2"]


def test_a_second_poll_at_the_same_time_ends_the_session_and_the_first_poll(session):
    first = queue.Queue()
    threading.Thread(target=lambda: first.put(session.poll())).start()
    wait_until(lambda: session.is_polling)

    with pytest.raises(QueueEmpty):
        session.handle_get_request({}, None)

    assert [each.encode() for each in first.get(timeout=10)] == ["1"]
    assert session.closed


def test_a_poll_while_the_server_stops_returns_the_packets_until_the_end(session):
    while_polling = iter([lambda: session.send(engine.message("31[]")), session.close])

    def is_stopping():
        next(while_polling)()
        return True

    session.is_stopping = is_stopping
    session.send(engine.message('2["score_update",1]'))

    assert [each.encode() for each in session.poll()] == ['42["score_update",1]', "431[]"]


class TestSending:
    def push(self, session, number):
        packets = [engine.message(f'2["score_update",{number}]')]
        session.push(engine.frames(packets), packets)

    def test_packets_queued_before_the_upgrade_are_sent_first(self, session, pair):
        self.push(session, 1)
        session.send(engine.message("31[]"))
        session.open_websocket(pair.websocket)
        self.push(session, 2)
        session.send(engine.message("32[]"))

        assert [payload.decode() for _, payload in pair.take_frames(4)] == [
            '42["score_update",1]',
            "431[]",
            '42["score_update",2]',
            "432[]",
        ]

    def test_broadcasts_during_the_upgrade_arrive_once_and_in_order(self, session, pair):
        halfway = threading.Event()

        def broadcast():
            for number in range(2000):
                self.push(session, number)
                if number == 200:
                    halfway.set()

        thread = threading.Thread(target=broadcast)
        thread.start()
        halfway.wait(10)
        session.open_websocket(pair.websocket)

        assert [payload.decode() for _, payload in pair.take_frames(2000)] == [
            f'42["score_update",{number}]' for number in range(2000)
        ]
        thread.join(10)

    def test_a_slow_client_is_closed_and_the_others_get_everything(
        self, app, session, pair, subscriber
    ):
        session.open_websocket(pair.websocket)
        caller = subscriber.connection.caller
        connection = LiveConnection("127.0.0.1", SOCKET_IO, caller=caller, push=session.push)
        hub.subscribe(app, connection, None)
        feed = services(app).subscribers.ledgers[MAIN].feed
        version = feed._current.version
        count = websocket.MAX_BACKLOG_BYTES // 50_000 + 10

        for number in range(1, count + 1):
            score = NewScore(1, "x" * 50_000, "Ann", number)
            boards = {MAIN: BoardChange(1, [score], [])}
            feed.offer(LedgerChange(MAIN, version + number, boards))

        received, code = pair.frames_until_close()
        sent = [message for frames in subscriber.frames for message in texts(frames)]
        assert [message["data"]["new_score"] for message in sent[1:]] == [*range(1, count + 1)]
        assert code == 4408
        assert 1 < len(received) < len(sent)
        assert [json.loads(text[2:]) for text in received] == [
            [message["type"], message] for message in sent[: len(received)]
        ]


class TestUpgrade:
    """A session of the application's own Engine.IO, with a WebSocket to a simulated client."""

    @pytest.fixture
    def session(self, app):
        library = services(app).socketio.server.eio
        library.start_background_task = None  # a session has no task of its own
        library.handle_request(
            {"REQUEST_METHOD": "GET", "QUERY_STRING": "EIO=4", "REMOTE_ADDR": "127.0.0.1"},
            lambda *response: None,
        )
        [session] = library.sockets.values()
        return session

    @pytest.fixture
    def pair(self, session, pair):
        session.open_websocket(pair.websocket)
        return pair

    @pytest.fixture
    def upgraded(self, session, pair):
        pair.send(1, b"2probe")
        assert pair.take_frames(1) == [(1, b"3probe")]
        pair.send(1, b"5")
        assert pair.take_frames(1) == [(1, b"6")]  # for a poll that waits
        wait_until(lambda: session.upgraded)

    def is_removed(self, app, session):
        return not services(app).connections._all and not session.server.sockets

    @pytest.mark.usefixtures("upgraded")
    def test_a_client_is_in_no_room_but_that_of_all_until_it_disconnects(
        self, app, session, player, pair
    ):
        rooms = services(app).socketio.server.manager.rooms

        session.receive(engine.message("0" + json.dumps({"token": player.token})))
        joined = {room: len(members) for room, members in rooms["/"].items()}
        pair.client.close()

        assert joined == {None: 1, handlers.ROOM: 1}
        assert pair.wait() is None
        assert session.closed
        assert not rooms
        assert self.is_removed(app, session)

    @pytest.mark.usefixtures("upgraded")
    def test_a_client_that_never_answers_a_ping_is_removed(self, app, session, pair, monkeypatch):
        monkeypatch.setattr(websocket, "CLOSE_TIMEOUT", 0.1)
        session.ping()
        assert pair.take_frames(1) == [(1, b"2")]
        session.last_ping = -math.inf

        assert not session.check_ping_timeout()

        assert pair.take_frames(2) == [(8, (1000).to_bytes(2, "big"))]
        assert pair.wait() is None
        assert self.is_removed(app, session)

    def test_a_websocket_before_its_upgrade_ends_with_the_session(self, session, pair):
        session.receive(packet.Packet(packet.CLOSE))

        assert pair.frames_until_close() == ([], 1000)

    def test_a_session_accepts_no_second_websocket(self, session, pair):
        second = Pair()

        session.open_websocket(second.websocket)

        assert second.frames_until_close() == ([], 1002)
        pair.send(1, b"2probe")
        assert pair.take_frames(1) == [(1, b"3probe")]

    def test_a_session_that_has_ended_accepts_no_websocket(self, session):
        session.close()
        late = Pair()

        session.open_websocket(late.websocket)

        assert late.frames_until_close() == ([], 1002)


def test_concurrent_updates_of_a_client_are_limited(app, monkeypatch):
    running, started, finish = [], queue.Queue(), threading.Semaphore(0)
    client = handlers.SocketIOClient("127.0.0.1", "socket.io", session=None)

    def submit(*_):
        running.append(1)
        started.put(len(running))
        finish.acquire()
        running.pop()
        return {"status": 200}

    def start_four():
        for _ in range(4):
            updates.start(app, client, StrictPacket(data=["update_score", None]))

    monkeypatch.setattr(updates, "MAX_CONCURRENT_UPDATES", 2)
    monkeypatch.setattr(updates, "_submit", submit)
    threading.Thread(target=start_four).start()
    counts = []
    for _ in range(4):
        counts.append(started.get(timeout=10))
        if len(counts) > 1:
            finish.release()
    finish.release()

    assert counts == [1, 2, 2, 2]
