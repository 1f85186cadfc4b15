"""The feed: a new subscriber gets a current board, without a query for each."""

from types import SimpleNamespace

import pytest

from scoreboard.leaderboard.top10 import LedgerChange
from scoreboard.models import MAIN
from scoreboard.realtime import feed
from scoreboard.realtime.feed import Feed


class Board:
    """A board in a database: its current version, and the versions given to `read`."""

    def __init__(self):
        self.version = 1
        self.reads = []

    def read(self, current):
        version = current and current.version
        self.reads.append(version)
        return None if version == self.version else LedgerChange(MAIN, self.version, {})


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(feed, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


@pytest.fixture
def board():
    return Board()


@pytest.fixture
def delivered():
    return []


@pytest.fixture
def live(board, delivered, clock):
    """Return a feed with one subscriber."""
    live = Feed(board.read, lambda batch: delivered.append(batch.version))
    live.subscribe(lambda: None)
    return live


def test_many_subscribers_at_once_share_one_read(live, board, delivered):
    for number in range(1000):
        live.subscribe(lambda number=number: delivered.append(f"subscriber {number}"))

    assert delivered == [1, *(f"subscriber {number}" for number in range(1000))]
    assert board.reads == [None]


def test_a_later_subscriber_gets_the_commits_of_other_processes(live, board, delivered, clock):
    board.version = 2
    clock.now += feed.MAX_BOARD_AGE + 0.01

    live.subscribe(lambda: delivered.append("subscribed"))

    assert delivered == [1, 2, "subscribed"]


@pytest.mark.parametrize("version", [2, 3], ids=["the next version", "a version that waits"])
def test_a_subscriber_gets_every_commit_of_this_process(live, board, delivered, version):
    board.version = version
    live.offer(LedgerChange(MAIN, version, {}))

    live.subscribe(lambda: delivered.append("subscribed"))

    assert delivered == [1, version, "subscribed"]


def test_versions_arriving_out_of_order_are_delivered_once_and_in_order(live, delivered):
    for version in (3, 2, 3, 1, 5, 4):
        live.offer(LedgerChange(MAIN, version, {}))

    assert delivered == [1, 2, 3, 4, 5]


def test_a_database_restored_from_a_backup_is_followed(live, board, delivered, clock):
    board.version = 9
    live.catch_up()
    live.catch_up_if_behind(9)

    board.version = 3
    live.catch_up_if_behind(3)
    live.offer(LedgerChange(MAIN, 4, {}))

    assert delivered == [1, 9, 3, 4]
