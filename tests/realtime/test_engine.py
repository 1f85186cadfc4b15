"""What we rely on of Engine.IO's inside, and what a client gets that changes its transport.

`test_on_eventlet.py` runs the classes on eventlet as well.
"""

import json
import math
import queue
import threading
from types import SimpleNamespace

import engineio
import pytest
import socketio
from engineio import packet
from engineio.exceptions import QueueEmpty

from scoreboard.concurrency import runtime
from scoreboard.leaderboard.top10 import Batch
from scoreboard.realtime import hub
from scoreboard.realtime.socketio import engine, handlers, updates
from scoreboard.realtime.socketio import session as engine_session
from scoreboard.realtime.socketio.packets import StrictPacket
from scoreboard.realtime.websocket import connection as websocket
from scoreboard.services import services
from tests.support.frames import texts
from tests.support.servers import RUN_MODES, Server
from tests.support.subscribers import NodeViewer, SocketIoViewer
from tests.support.waiting import wait_until
from tests.support.websocket_pairs import Pair


class TestTheLibrary:
    """Each fails if a new version moves what `engine.py` and `handlers.py` take for granted."""

    @pytest.fixture
    def library(self):
        server = socketio.Server(async_mode=runtime.ASYNC_MODE, monitor_clients=False)
        return server.eio

    @pytest.fixture
    def session(self, library):
        engine.install(library, on_slow=lambda: None)
        library.sockets["sid"] = engineio.socket.Socket(library, "sid")
        return library.sockets["sid"]

    def test_a_session_takes_its_queue_from_the_table(self, session):
        assert isinstance(session.queue, engine.Outbox)

    def test_the_table_has_what_is_replaced(self, library):
        assert {"queue", "queue_empty", "websocket"} <= library._async.keys()
        assert library._async["queue_empty"] is queue.Empty

    def test_the_driver_is_given_a_method_of_the_session(self, session):
        given = []
        session.server._async["websocket"] = lambda *args: lambda *call: given.extend(args)

        session._upgrade_websocket({}, None)

        assert given == [session._websocket_handler, session.server]
        assert given[0].__self__ is session

    def test_a_session_has_the_flags(self, session):
        assert (session.connected, session.upgrading, session.upgraded) == (False, False, False)
        assert (session.closing, session.closed, session.sid) == (False, False, "sid")
        assert not hasattr(session, "websocket")

    def test_what_is_sent_is_put_into_the_queue_at_once(self, session):
        session.send(packet.Packet(packet.MESSAGE, "x"))

        assert session.poll()[0].encode() == "4x"

    def test_an_answered_ping_is_taken_note_of(self, session):
        noted = []
        session.schedule_ping = lambda: noted.append("answered")

        session.receive(packet.Packet(packet.PONG))

        assert noted == ["answered"]

    def test_who_sends_looks_first_whether_a_ping_is_unanswered(self, session):
        session.check_ping_timeout = lambda: False

        session.send(packet.Packet(packet.MESSAGE, "x"))

        assert session.queue.qsize() == 0

    def test_a_poll_that_finds_nothing_ends_the_session(self, session):
        def poll():
            raise QueueEmpty

        session.poll = poll

        with pytest.raises(QueueEmpty):
            session.handle_get_request({}, None)
        assert session.closed

    def test_a_closed_session_puts_none_into_the_queue(self, session):
        session.close(wait=False, abort=True)

        assert session.queue.get(block=False) is None

    def test_a_message_reaches_the_handler_before_receive_returns(self, session):
        received = []
        session.server.on("message", lambda sid, data: received.append((sid, data)))

        session.receive(packet.Packet(packet.MESSAGE, '{"not": "parsed"}'))

        assert received == [("sid", '{"not": "parsed"}')]

    @pytest.mark.parametrize("ours", [True, False])
    @pytest.mark.parametrize("way", ["polling", "websocket"])
    def test_a_connect_handler_may_keep_the_task_that_pings_from_starting(self, library, way, ours):
        steps = []

        def connected(sid, environ):
            steps.append("connected")
            if ours:
                engine.before_connect(library.sockets[sid])

        def serve(environ, start_response):
            return []

        library.on("connect", connected)
        library.start_background_task = lambda work, *args: steps.append(work.__name__)
        library._async["websocket"] = lambda *args: serve
        request = {**WEBSOCKET_REQUEST, "QUERY_STRING": f"EIO=4&transport={way}"}
        library.handle_request(request, lambda *answer: None)

        assert steps == ["connected", *([] if ours else ["_send_ping"])]


class TestSignsOfLife:
    @pytest.fixture
    def session(self):
        library = socketio.Server(async_mode=runtime.ASYNC_MODE, monitor_clients=False).eio
        engine.install(library, on_slow=lambda: None)
        library.sockets["sid"] = session = engineio.socket.Socket(library, "sid")
        engine.before_connect(session)
        session.connected = True
        return session

    @pytest.fixture
    def clock(self, monkeypatch):
        clock = SimpleNamespace(now=1000.0)
        monkeypatch.setattr(engine_session.time, "monotonic", lambda: clock.now)
        return clock

    def test_who_does_not_answer_a_ping_in_time_is_closed(self, session, clock):
        session.ping()
        clock.now += session.server.ping_timeout
        assert session.check_ping_timeout()

        clock.now += 1

        assert not session.check_ping_timeout()
        assert session.closed

    def test_who_answers_a_ping_may_stay(self, session, clock):
        session.ping()
        session.receive(packet.Packet(packet.PONG))

        clock.now += 3600

        assert session.check_ping_timeout()

    def test_who_still_owes_an_answer_is_not_asked_again(self, session, clock):
        session.ping()
        session.ping()

        assert [each.encode() for each in session.poll()] == ["2"]

    def test_a_second_poll_at_the_same_time_ends_the_session_and_the_first(self, session):
        first = queue.Queue()
        threading.Thread(target=lambda: first.put(session.poll())).start()
        wait_until(lambda: session.polling)

        with pytest.raises(QueueEmpty):
            session.handle_get_request({}, None)

        assert [each.encode() for each in first.get(timeout=10)] == ["1"]
        assert session.closed


WEBSOCKET_REQUEST = {
    "REQUEST_METHOD": "GET",
    "QUERY_STRING": "EIO=4&transport=websocket",
    "HTTP_CONNECTION": "Upgrade",
    "HTTP_UPGRADE": "websocket",
    "HTTP_SEC_WEBSOCKET_KEY": "AAAAAAAAAAAAAAAAAAAAAA==",
    "HTTP_SEC_WEBSOCKET_VERSION": "13",
}


class TestOutbox:
    @pytest.fixture
    def pair(self):
        pair = Pair()
        yield pair
        pair.close()

    def told(self, number):
        packets = [engine.message(f'2["score_update",{number}]')]
        return engine.frames(packets), packets

    def test_what_waits_comes_first_and_what_follows_comes_after(self, pair):
        outbox = engine.Outbox(queue.Queue)
        outbox.push(*self.told(1))
        outbox.put(engine.message("31[]"))
        outbox.attach(pair.websocket)
        outbox.push(*self.told(2))
        outbox.put(engine.message("32[]"))

        assert [payload.decode() for _, payload in pair.take_frames(4)] == [
            '42["score_update",1]',
            "431[]",
            '42["score_update",2]',
            "432[]",
        ]

    def test_broadcasts_from_a_thread_during_the_upgrade_come_once_and_in_order(self, pair):
        outbox = engine.Outbox(queue.Queue)
        halfway = threading.Event()

        def broadcast_all():
            for number in range(2000):
                outbox.push(*self.told(number))
                if number == 200:
                    halfway.set()

        thread = threading.Thread(target=broadcast_all)
        thread.start()
        halfway.wait(10)
        outbox.attach(pair.websocket)

        assert [payload.decode() for _, payload in pair.take_frames(2000)] == [
            f'42["score_update",{number}]' for number in range(2000)
        ]
        thread.join(10)

    def test_one_who_does_not_read_is_closed_and_the_others_get_everything(self, app, pair):
        slow, reading = engine.Outbox(queue.Queue), Reading()
        slow.attach(pair.websocket)
        hub.subscribe_socket(app, slow)
        hub.subscribe_websocket(app, reading)
        version = services(app).feed._version
        count = websocket.MAX_BACKLOG_BYTES // 50_000 + 10

        with app.app_context():
            for number in range(1, count + 1):
                update = {"user_id": "x" * 50_000, "new_score": number}
                services(app).feed.offer(Batch(version + number, [update], TOP_10))

        received, code = pair.frames_until_close()
        everything = [each for frames in reading.frames for each in texts(frames)]
        assert [each["data"].get("new_score") for each in everything if each != BOARD] == [
            *range(1, count + 1)
        ]
        assert code == 4408
        assert [json.loads(text[2:]) for text in received] == [
            [message["type"], message] for message in everything[: len(received)]
        ]
        assert 1 < len(received) < len(everything)


TOP_10 = {"top_10_scores": []}
BOARD = {"type": "top_10_update", "data": TOP_10}


class TestSession:
    """A session of the application's own Engine.IO, with a WebSocket whose client is played."""

    @pytest.fixture
    def session(self, app):
        services(app).connections.on_first_connection(lambda: None)  # the keeper, for good
        library = services(app).socketio.server.eio
        library.handle_request(
            {"REQUEST_METHOD": "GET", "QUERY_STRING": "EIO=4", "REMOTE_ADDR": "127.0.0.1"},
            lambda *answer: None,
        )
        return next(iter(library.sockets.values()))

    @pytest.fixture
    def pair(self, session):
        pair = Pair()
        driver = engine.EngineWebSocket(print, session._websocket_handler, session.server)
        driver._open(pair.websocket)
        yield pair
        pair.close()

    @pytest.fixture
    def upgraded(self, session, pair):
        pair.send(1, b"2probe")
        assert pair.take_frames(1) == [(1, b"3probe")]
        pair.send(1, b"5")
        assert pair.take_frames(1) == [(1, b"6")]  # for a poll that had waited
        wait_until(lambda: session.upgraded)

    @pytest.mark.usefixtures("upgraded")
    def test_one_who_leaves_is_forgotten(self, app, session, pair):
        pair.client.close()

        assert pair.wait() is None
        assert session.closed
        assert session.sid not in session.server.sockets
        assert not services(app).connections._all

    @pytest.mark.usefixtures("upgraded")
    def test_no_viewer_has_a_room_of_its_own_and_all_leave_the_one_of_all(
        self, app, session, player, pair
    ):
        rooms = services(app).socketio.server.manager.rooms

        session.receive(engine.message("0" + json.dumps({"token": player.token})))
        held = {room: len(members) for room, members in rooms["/"].items()}
        pair.client.close()

        assert held == {None: 1, handlers.ROOM: 1}
        assert pair.wait() is None
        assert not rooms

    @pytest.mark.usefixtures("upgraded")
    def test_one_who_never_answers_a_ping_is_forgotten(self, app, session, pair, monkeypatch):
        monkeypatch.setattr(websocket, "CLOSE_TIMEOUT", 0.1)
        session.ping()
        assert pair.take_frames(1) == [(1, b"2")]
        session.last_ping = -math.inf

        services(app).connections._with_each_sweep()

        assert pair.take_frames(2) == [(8, (1000).to_bytes(2, "big"))]
        assert pair.wait() is None
        assert session.sid not in session.server.sockets
        assert not services(app).connections._all

    def test_a_websocket_that_its_session_never_moved_to_ends_with_it(self, session, pair):
        session.receive(packet.Packet(packet.CLOSE))

        assert pair.frames_until_close() == ([], 1000)
        assert pair.wait() is None

    def test_one_that_comes_when_its_session_ends_is_not_kept(self, session):
        session.closing = True
        pair = Pair()

        engine.EngineWebSocket(print, session._websocket_handler, session.server)._open(
            pair.websocket
        )

        assert pair.frames_until_close() == ([], 1002)


class TestEventsUnderWay:
    def test_are_bounded_and_the_next_is_read_when_one_is_answered(self, app, monkeypatch):
        """Nothing runs here by itself: who would wait for room is told so instead."""
        work = []
        monkeypatch.setattr(updates, "MAX_CONCURRENT_UPDATES", 2)
        monkeypatch.setattr(updates, "threading", SimpleNamespace(Semaphore=Room))
        monkeypatch.setattr(updates.runtime, "spawn", lambda *task: work.append(task))
        session = handlers._Session("127.0.0.1", "socket.io", socket=None)

        def submit(number):
            updates.submit(app, session, StrictPacket(data=["update_score", number]))

        submit(1)
        submit(2)
        with pytest.raises(WouldWait):
            submit(3)
        answer, *args = work[0]
        answer(*args)
        submit(4)

        assert len(work) == 3


class WouldWait(Exception):
    pass


class Room(threading.Semaphore):
    def acquire(self):
        if not super().acquire(blocking=False):
            raise WouldWait


class Reading:
    def __init__(self):
        self.frames = []

    def push(self, frames):
        self.frames.append(frames)


@pytest.mark.parametrize("mode", RUN_MODES)
def test_who_upgrades_in_the_middle_of_updates_gets_each_once_and_in_order(
    tmp_path, mode, watching
):
    server, enough = Server(tmp_path, mode), threading.Event()
    try:
        player, sent = server.user("Ann"), []

        def post():
            while not enough.is_set():
                assert server.send(player.token, player.update(len(sent)))[0] == 200
                sent.append(len(sent))

        poster = threading.Thread(target=post)
        poster.start()
        wait_until(lambda: sent)
        nodes = [
            watching(NodeViewer(server.url, player.token, "polling,websocket")) for _ in range(4)
        ]
        viewers = [watching(SocketIoViewer(server.url, player.token)) for _ in range(12)]
        for node in nodes:
            assert node.said("upgrade") == "websocket"
            node.wait_for(lambda lines: len(scores(values(lines))) > 3, 20)
        for viewer in viewers:
            viewer.wait_for(lambda messages: len(scores(messages)) > 3, 20)
        enough.set()
        poster.join(20)
        last = sent[-1]
        for viewer in viewers:
            viewer.wait_for(lambda messages: scores(messages)[-1:] == [last], 20)
        for node in nodes:
            node.wait_for(lambda lines: scores(values(lines))[-1:] == [last], 20)
        for messages in [v.messages() for v in viewers] + [values(n.messages()) for n in nodes]:
            assert messages[0]["type"] == "top_10_update"
            first = messages[0]["data"]["top_10_scores"][0]["score"] + 1
            assert scores(messages) == list(range(first, last + 1))
    finally:
        enough.set()
        server.stop()


def values(lines):
    return [line["value"] for line in lines if "_update" in line["what"]]


def scores(messages):
    return [m["data"]["new_score"] for m in messages if m["type"] == "score_update"]
