"""What was acknowledged is there after the process was killed, and nothing is there twice."""

import sqlite3
import threading
import uuid

import requests

from tests.support.servers import Server

WRITERS = 8


def test_scores_and_replay_protection_survive_kill_and_restart(tmp_path):
    server = Server(tmp_path)
    try:
        people = [server.user(f"Player-{n}") for n in range(WRITERS)]
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
                acknowledged.append((person, update, answer.json()))
                if len(acknowledged) > 400:
                    enough.set()

        writers = [threading.Thread(target=play, args=(person,)) for person in people]
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
        last = {person.user_id: receipt["score"] for person, _, receipt in acknowledged}
        present = {entry["user_id"]: entry["score"] for entry in server.top10()}
        # One update a player may have been committed without anyone hearing of it.
        assert all(present[user] - last[user] in (0, 1) for user in last)
        assert recorded(tmp_path) >= {update["nonce"] for _, update, _ in acknowledged}
    finally:
        server.stop()


def recorded(folder):
    """Return the identities in the history; fail if one is there twice."""
    with sqlite3.connect(folder / "scoreboard.db") as database:
        rows = [row[0] for row in database.execute("SELECT identity FROM scores")]
    assert len(rows) == len(set(rows))
    return set(rows)
