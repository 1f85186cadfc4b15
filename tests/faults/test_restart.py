"""Acknowledged updates survive a kill of the process, and none is stored twice."""

import itertools
import sqlite3
import threading
import uuid

import pytest
import requests

from tests.support.servers import Server

WRITERS = 8


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path)
    yield server
    server.stop()


def test_scores_and_replay_protection_survive_kill_and_restart(server, tmp_path):
    users = [server.user(f"Player-{n}") for n in range(WRITERS)]
    acknowledged = []
    enough = threading.Event()

    def submit(person):
        for value in itertools.count(1):
            update = person.update(value, nonce=uuid.uuid4().hex)
            try:
                answer = server.post(person.token, update)
            except requests.ConnectionError:
                return
            assert answer.status_code == 200
            acknowledged.append((person, update, answer.json()))
            if len(acknowledged) > 400:
                enough.set()

    writers = [threading.Thread(target=submit, args=(person,)) for person in users]
    for writer in writers:
        writer.start()
    assert enough.wait(60)
    server.kill()
    for writer in writers:
        writer.join(30)
    server.start()

    for person, update, receipt in acknowledged[-50:]:
        answer = server.post(person.token, update)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "replayed")
        assert answer.json()["error"]["receipt"] == receipt
    newest = {person.user_id: receipt["score"] for person, _, receipt in acknowledged}
    board = {entry["user_id"]: entry["score"] for entry in server.top10()}
    # One update of each player may be committed without an acknowledgement.
    assert all(board[user] - newest[user] in (0, 1) for user in newest)
    with sqlite3.connect(tmp_path / "scoreboard.db") as database:
        stored = [row[0] for row in database.execute("SELECT identity FROM scores")]
    assert len(stored) == len(set(stored))
    assert set(stored) >= {update["nonce"] for _, update, _ in acknowledged}
