"""The top 10 that is kept for a moment is never wrong about what this process has told."""

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import event

from scoreboard.errors import ServerError
from scoreboard.extensions import db
from scoreboard.leaderboard import top10 as board
from tests.support.waiting import wait_until


@pytest.fixture
def clock(monkeypatch):
    """Return a clock for the top 10 that goes when it is told to."""

    class Clock:
        now = 1000.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(board, "time", clock)
    return clock


@pytest.fixture
def other(make_app, app):
    """Return a client of another process on the same database, or as good as one."""
    return make_app().test_client()


def post(client, person, score):
    update = person.update(score, nonce=uuid.uuid4().hex)
    assert client.post("/api/score/update", json=update, headers=person.bearer).status_code == 200


def scores(client):
    return [entry["score"] for entry in client.get("/api/score/top10").json["top_10_scores"]]


def test_it_shows_what_was_acknowledged_at_once(client, player, clock):
    assert scores(client) == []

    for score in (1, 2, 3):
        post(client, player, score)
        assert scores(client) == [score]


def test_it_shows_what_another_process_acknowledged_after_a_tenth_of_a_second(
    client, other, player, clock
):
    assert scores(client) == []
    post(other, player, 1)

    clock.now += 0.1001

    assert scores(client) == [1]


def test_it_is_read_once_for_many_requests(client, player, clock):
    statements = []
    event.listen(db.engine, "before_cursor_execute", lambda *given: statements.append(given[2]))

    for _ in range(100):
        scores(client)

    assert sum("standings" in statement for statement in statements) == 1


def test_what_was_read_does_not_hide_what_was_acknowledged_meanwhile(
    app, client, player, clock, monkeypatch
):
    assert scores(client) == []
    read = board.since

    def read_and_be_overtaken(version):
        found = read(version)
        post(client, player, 5)
        return found

    monkeypatch.setattr(board, "since", read_and_be_overtaken)
    clock.now += 1

    assert scores(client) == [5]


def test_a_failing_database_is_told_and_then_forgotten(client, clock, monkeypatch):
    def fail(version):
        raise OSError("gone")

    with monkeypatch.context() as broken:
        broken.setattr(board, "since", fail)
        answer = client.get("/api/score/top10")

    assert (answer.status_code, answer.json["error"]["code"]) == (500, "server_error")
    assert scores(client) == []


def test_who_waits_for_a_database_that_hangs_shares_its_failure(monkeypatch):
    asked, failing = [], threading.Event()

    def hang(version):
        asked.append(version)
        assert failing.wait(10)
        raise OSError("gone")

    monkeypatch.setattr(board, "since", hang)
    cache = board.Top10Cache(lambda: board.since(None))
    with ThreadPoolExecutor(10) as pool:
        first = pool.submit(cache.get)
        wait_until(lambda: asked)
        rest = [pool.submit(cache.get) for _ in range(9)]
        wait_until(lambda: len(cache._reads._queue) == 9)
        failing.set()

        assert [type(each.exception(10)) for each in [first, *rest]] == [ServerError] * 10
    assert len(asked) == 2
