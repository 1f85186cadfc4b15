"""The cached top 10 has every update of this process and is read at most ten times a second."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from scoreboard.errors import ServerError
from scoreboard.extensions import db
from scoreboard.leaderboard import top10
from tests.support import api
from tests.support.waiting import wait_until


@pytest.fixture
def clock(monkeypatch):
    """Return a clock for the cache that only the test advances."""

    class Clock:
        now = 1000.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(top10, "time", clock)
    return clock


def post(client, user, score):
    assert api.submit(client, user, user.update(score)).status_code == 200


def scores(client):
    return [entry["score"] for entry in api.top10(client)]


def fail(*args):
    raise OperationalError("", {}, Exception("no connection"))


def test_an_acknowledged_update_is_shown_at_once(client, player, clock):
    assert scores(client) == []

    for score in (1, 2, 3):
        post(client, player, score)
        assert scores(client) == [score]


def test_an_update_of_another_process_is_shown_after_a_tenth_of_a_second(
    client, make_app, player, clock
):
    assert scores(client) == []
    post(make_app().test_client(), player, 1)

    clock.now += 0.1001

    assert scores(client) == [1]


def test_many_requests_share_one_read(client, player, clock):
    statements = []
    event.listen(db.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))

    for _ in range(100):
        scores(client)

    assert sum("standings" in statement for statement in statements) == 1


def test_a_read_does_not_hide_an_update_acknowledged_meanwhile(client, player, clock, monkeypatch):
    assert scores(client) == []
    since = top10.since

    def read_then_update(*args):
        change = since(*args)
        post(client, player, 5)
        return change

    monkeypatch.setattr(top10, "since", read_then_update)
    clock.now += 1

    assert scores(client) == [5]


def test_while_the_database_fails_an_empty_cache_is_an_error(client, clock, monkeypatch):
    with monkeypatch.context() as broken:
        broken.setattr(top10, "since", fail)
        responses = [client.get("/api/score/top10") for _ in range(2)]

    assert [r.status_code for r in responses] == [500, 500]
    assert {r.json["error"]["code"] for r in responses} == {"server_error"}
    assert scores(client) == []


def test_while_the_database_fails_the_cache_keeps_its_content(client, player, clock, monkeypatch):
    post(client, player, 1)
    assert scores(client) == [1]

    monkeypatch.setattr(top10, "since", fail)
    clock.now += 1

    assert scores(client) == [1]


def test_callers_that_wait_for_a_read_share_its_failure():
    reads, failing = [], threading.Event()

    def hang():
        reads.append(1)
        assert failing.wait(10)
        raise OSError("no connection")

    cache = top10.Top10Cache(hang)
    with ThreadPoolExecutor(10) as pool:
        first = pool.submit(cache.get)
        wait_until(lambda: reads)
        waiting = [pool.submit(cache.get) for _ in range(9)]
        wait_until(lambda: cache._reads._pending == 9)
        failing.set()

        assert [type(each.exception(10)) for each in [first, *waiting]] == [ServerError] * 10
    assert len(reads) == 2
