"""The feed: who is let in sees a board that is current, without a query for each."""

import pytest

from scoreboard.leaderboard.top10 import Batch
from scoreboard.realtime import feed
from scoreboard.realtime.feed import Feed


class Board:
    """A database's board: what it is asked, and what it tells."""

    def __init__(self):
        self.version = 1
        self.asked = []

    def read(self, version):
        self.asked.append(version)
        return None if version == self.version else Batch(self.version, [], {})


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(feed, "time", clock)
    return clock


@pytest.fixture
def board():
    return Board()


@pytest.fixture
def delivered():
    return []


@pytest.fixture
def viewers(board, delivered, clock):
    return Feed(board.read, lambda batch: delivered.append(batch.version))


def test_many_who_come_at_once_are_let_in_by_one_reading(viewers, board):
    welcomed = []
    for number in range(1000):
        viewers.admit(lambda number=number: welcomed.append(number))

    assert welcomed == list(range(1000))
    assert board.asked == [None]


def test_who_comes_later_is_shown_what_others_committed_meanwhile(viewers, board, delivered, clock):
    viewers.admit(lambda: None)
    board.version = 2
    clock.now += feed.MAX_BOARD_AGE + 0.01

    viewers.admit(lambda: delivered.append("welcome"))

    assert delivered == [1, 2, "welcome"]


def test_who_comes_right_after_an_update_of_this_process_is_shown_it(viewers, board, delivered):
    viewers.admit(lambda: None)
    board.version = 2
    viewers.offer(Batch(2, [], {}))

    viewers.admit(lambda: delivered.append("welcome"))

    assert delivered == [1, 2, "welcome"]


def test_a_database_restored_from_a_backup_is_followed_from_there(viewers, board, delivered):
    board.version = 9
    viewers.admit(lambda: None)
    viewers.catch_up_if_behind(9)

    board.version = 3
    viewers.catch_up_if_behind(3)
    viewers.offer(Batch(4, [], {}))

    assert delivered == [9, 3, 4]


def test_an_update_that_waits_for_an_earlier_one_is_never_missing_from_the_welcome(
    viewers, board, delivered
):
    viewers.admit(lambda: None)
    board.version = 3
    viewers.offer(Batch(3, [], {}))

    viewers.admit(lambda: delivered.append("welcome"))

    assert delivered == [1, 3, "welcome"]
