"""A process that is told to stop answers what it accepted, and sends its viewers away properly."""

import signal
import threading
import uuid

import databases
import pytest
import requests
from serving import SECRETS, Server
from sqlalchemy import select
from viewers import NodeViewer, PlainViewer, SocketIoViewer

from config import Config
from scoreboard import create_app, database
from scoreboard.models import Score

WRITERS = 8


def recorded(url):
    """Return the identities in the history."""
    app = create_app(Config.from_environment({**SECRETS, "DATABASE_URL": url}))
    with app.app_context():
        rows = database.read(lambda c: c.execute(select(Score.identity)).scalars().all())
    assert len(rows) == len(set(rows))
    return set(rows)


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
        acknowledged = []
        enough = threading.Event()

        def play(person):
            value = 0
            while True:
                value += 1
                update = person.update(value, nonce=uuid.uuid4().hex)
                try:
                    answer = server.post(person.token, update)
                except requests.ConnectionError:
                    return
                assert answer.status_code == 200
                acknowledged.append(update["nonce"])
                if len(acknowledged) > 200:
                    enough.set()

        writers = [threading.Thread(target=play, args=(person,)) for person in people]
        for writer in writers:
            writer.start()
        assert enough.wait(60)

        server.process.send_signal(signal.SIGTERM)

        assert server.process.wait(10) == 0
        for writer in writers:
            writer.join(10)
        assert all(viewer.ended.wait(5) for viewer in [*plain, *sockets])
        assert {viewer.code for viewer in plain} == {1012}
        assert set(acknowledged) <= recorded(url)
    finally:
        server.stop()


def test_the_ordinary_client_comes_back_after_a_restart(tmp_path, watching):
    server = Server(tmp_path)
    try:
        player = server.user("Ann")
        viewer = watching(NodeViewer(server.url, player.token, "websocket"))
        viewer.said("top_10_update")

        server.process.send_signal(signal.SIGTERM)

        # Not "io server disconnect", after which it would stay away.
        assert viewer.said("disconnect") == "transport close"
        assert server.process.wait(10) == 0
    finally:
        server.stop()


def test_idle_connections_do_not_hold_the_stop_up(tmp_path):
    server = Server(tmp_path)
    try:
        with requests.Session() as session:
            session.get(f"{server.url}/api/score/top10", timeout=10)

            server.process.send_signal(signal.SIGINT)

            assert server.process.wait(5) == 0
    finally:
        server.stop()
