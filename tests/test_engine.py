"""What we rely on of Engine.IO's inside, and what a client gets that changes its transport."""

import contextlib
import inspect
import queue
import socket
import threading

import engineio
import pytest
from engineio import packet
from serving import RUN_MODES, Server
from viewers import NodeViewer, SocketIoViewer, wait_until

from scoreboard.realtime import broadcast, engine, handlers, websocket
from scoreboard.realtime.feed import Batch
from scoreboard.realtime.packets import StrictPacket
from scoreboard.realtime.websocket import WebSocket


class TestTheLibrary:
    """Each fails if a new version moves what `engine.py` and `handlers.py` take for granted."""

    @pytest.fixture
    def library(self):
        return engineio.Server(async_mode="threading", monitor_clients=False)

    @pytest.fixture
    def session(self, library):
        engine.install(library)
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

    def test_a_session_that_owes_no_pong_starts_no_task_that_pings(self, session, monkeypatch):
        monkeypatch.setattr(session.server, "start_background_task", lambda *work: 1 / 0)
        session.last_ping = None

        session.schedule_ping()

    def test_an_unanswered_ping_closes_the_session(self, session):
        session.last_ping = 1.0

        session.check_ping_timeout()

        assert session.closed

    def test_a_closed_session_puts_none_into_the_queue(self, session):
        session.close(wait=False, abort=True)

        assert session.queue.get(block=False) is None

    def test_a_message_reaches_the_handler_before_receive_returns(self, session):
        received = []
        session.server.on("message", lambda sid, data: received.append((sid, data)))

        session.receive(packet.Packet(packet.MESSAGE, '{"not": "parsed"}'))

        assert received == [("sid", '{"not": "parsed"}')]

    def test_the_connect_handler_runs_before_the_first_ping_is_due(self):
        source = inspect.getsource(engineio.Server._handle_connect)

        assert source.index("_trigger_event('connect'") < source.index("schedule_ping()")
        assert source.index("schedule_ping()") < source.index("handle_get_request(")


class TestOutbox:
    @pytest.fixture
    def opened(self):
        server, client = socket.socketpair()
        server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        server.settimeout(30)
        client.settimeout(10)
        with server, client:
            yield WebSocket(server, longest_message=100), client

    def told(self, number):
        packets = [engine.message(f'2["score_update",{number}]')]
        return engine.frames(packets), packets

    def test_what_waits_comes_first_and_what_follows_comes_after(self, opened):
        outbox = engine.Outbox(queue.Queue)
        outbox.push(*self.told(1))
        outbox.put(engine.message("31[]"))
        outbox.attach(opened[0])
        outbox.push(*self.told(2))
        outbox.put(engine.message("32[]"))

        expected = [self.told(1)[0], self.told(2)[0]]
        acks = [websocket.text_frame(f"4{text}") for text in ("31[]", "32[]")]
        whole = expected[0] + acks[0] + expected[1] + acks[1]
        assert opened[1].makefile("rb").read(len(whole)) == whole

    def test_broadcasts_from_a_thread_during_the_upgrade_come_once_and_in_order(self, opened):
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
        outbox.attach(opened[0])
        whole = b"".join(self.told(number)[0] for number in range(2000))

        assert opened[1].makefile("rb").read(len(whole)) == whole
        thread.join(10)

    def test_one_who_does_not_read_is_closed_and_the_others_get_everything(self, app, opened):
        slow, reading = engine.Outbox(queue.Queue), Reading()
        slow.attach(opened[0])
        broadcast.welcome_socket(app, slow)
        broadcast.welcome_viewer(app, reading)
        update = {"user_id": "x" * 50_000, "new_score": 1}
        version = app.extensions["feed"]._version
        count = websocket.MOST_BEHIND // 50_000 + 10

        with app.app_context():
            for number in range(1, count + 1):
                top10 = {"top_10_scores": []}
                app.extensions["feed"].offer(Batch(version + number, [update], top10))

        assert len(reading.frames) == count + 1
        assert opened[0]._bytes_behind <= websocket.MOST_BEHIND
        received = b""
        with contextlib.suppress(TimeoutError):
            while not received.endswith(b"too slow"):
                received += opened[1].recv(65536)
        close = received[-12:]
        assert (close[0], int.from_bytes(close[2:4], "big")) == (0x88, 4408)
        # Everything before it is whole.
        assert received[:-12].count(b'42["score_update"') == received.count(b'"new_score":1}}]')

    def test_one_who_never_answers_a_ping_is_let_go(self, opened, monkeypatch):
        monkeypatch.setattr(websocket, "SILENCE_SECONDS", 0)

        opened[0].ping()

        assert opened[0].take() is False
        assert opened[1].recv(100) == b""


def test_events_of_one_client_under_way_are_bounded(app, monkeypatch):
    answered, let_go = [], threading.Event()
    monkeypatch.setattr(handlers, "MOST_UNDER_WAY", 2)

    def submit(body, token, origin):
        let_go.wait(10)
        answered.append(body)
        return {}

    monkeypatch.setattr(handlers.service, "submit", submit)
    door = handlers._Door(app)
    session = handlers._Session("127.0.0.1", "socket.io", socket=None)
    read = []

    def read_three():
        for number in range(3):
            door._submit(session, StrictPacket(data=["update_score", number]))
            read.append(number)

    reader = threading.Thread(target=read_three)
    reader.start()
    wait_until(lambda: len(read) == 2)
    reader.join(0.1)
    assert read == [0, 1]
    let_go.set()
    reader.join(10)

    wait_until(lambda: sorted(answered) == [0, 1, 2])


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
