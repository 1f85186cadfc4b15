"""Work that several ask for at the same time is done in one go."""

import threading

import pytest

from scoreboard.concurrency.coalescer import Coalescer
from scoreboard.errors import ServerError
from tests.support.waiting import wait_until


class Work:
    """Work that waits until it is let go, and keeps what it was asked for each time."""

    def __init__(self, answer=lambda asked: asked * 10):
        self.rounds = []
        self.answer = answer
        self.may_go = threading.Event()

    def __call__(self, asked):
        self.rounds.append(asked)
        assert self.may_go.wait(10)
        return [self.answer(each) for each in asked]


class Askers:
    """Threads that each ask for one thing, one after the other."""

    def __init__(self, together):
        self.together = together
        self.answers = {}
        self.threads = []

    def ask(self, *asked):
        def run():
            self.answers[asked] = self.together.ask_all(asked)

        self.threads.append(threading.Thread(target=run))
        self.threads[-1].start()

    def wait(self):
        for thread in self.threads:
            thread.join(10)
            assert not thread.is_alive()
        return self.answers


def started(work, rounds):
    wait_until(lambda: len(work.rounds) == rounds)


def queued(together, count):
    wait_until(lambda: len(together._queue) == count)


def test_whoever_comes_while_it_is_done_shares_the_next_round():
    work = Work()
    together = Coalescer(work, most=10)
    askers = Askers(together)

    askers.ask(1)
    started(work, 1)
    for number in (2, 3, 4):
        askers.ask(number)
        queued(together, number - 1)
    work.may_go.set()

    assert askers.wait() == {(1,): [10], (2,): [20], (3,): [30], (4,): [40]}
    assert work.rounds == [[1], [2, 3, 4]]


def test_a_round_is_no_larger_than_it_may_be_and_what_is_asked_together_stays_together():
    work = Work()
    together = Coalescer(work, most=4)
    askers = Askers(together)

    askers.ask(1)
    started(work, 1)
    for place, asked in enumerate([(2, 3), (4,), (5, 6), (7, 8, 9, 10, 11)]):
        askers.ask(*asked)
        queued(together, place + 1)
    work.may_go.set()

    askers.wait()
    assert work.rounds == [[1], [2, 3, 4], [5, 6], [7, 8, 9, 10, 11]]


def test_the_answer_of_one_may_be_an_error_that_no_other_gets():
    work = Work(lambda asked: ValueError("odd") if asked % 2 else asked)
    work.may_go.set()
    together = Coalescer(work, most=10)

    assert together.ask(2) == 2
    with pytest.raises(ValueError, match="odd"):
        together.ask(3)


def test_work_that_fails_fails_for_everybody_is_logged_once_and_the_next_round_is_done(unforeseen):
    def fail(asked):
        raise OSError("gone")

    work = Work(fail)
    together = Coalescer(work, most=10)
    askers = Askers(together)
    askers.ask(1)
    started(work, 1)
    for number in (2, 3, 4):
        askers.ask(number)
        queued(together, number - 1)
    work.may_go.set()

    answers = askers.wait()

    assert [type(answers[asked,][0]) for asked in (1, 2, 3, 4)] == [ServerError] * 4
    assert [len(asked) for asked in work.rounds] == [1, 3]
    assert [type(error) for error in unforeseen] == [OSError] * 2


def test_many_threads_each_get_their_own_answer():
    together = Coalescer(lambda asked: [each * 10 for each in asked], most=7)
    askers = Askers(together)

    for number in range(200):
        askers.ask(number)

    assert askers.wait() == {(number,): [number * 10] for number in range(200)}
