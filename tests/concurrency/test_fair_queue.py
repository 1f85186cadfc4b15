"""The queue in front of the password hash: bounded, and fair between addresses."""

import threading

import pytest

from scoreboard.concurrency import fair_queue
from scoreboard.concurrency.fair_queue import FairQueue
from scoreboard.errors import Overloaded
from tests.support.waiting import wait_until


class Crowd:
    """Requests in threads of their own, each with a name that begins with its address."""

    def __init__(self, queue):
        self.queue = queue
        self.served, self.refused = [], []
        self._threads = []
        self._slot = queue.slot("somebody else")
        self._slot.__enter__()

    def arrive(self, *names):
        """Let these arrive one after the other, while the slot is taken."""
        for name in names:
            before = self._settled()
            thread = threading.Thread(target=self._ask, args=(name,))
            thread.start()
            self._threads.append(thread)
            wait_until(lambda before=before: self._settled() > before)

    def _settled(self):
        return len(self.queue._waiting) + len(self.refused)

    def _ask(self, name):
        try:
            with self.queue.slot(name[0]):
                self.served.append(name)
        except Overloaded:
            self.refused.append(name)

    def serve(self):
        """Free the slot, and wait until nobody waits."""
        self._slot.__exit__(None, None, None)
        for thread in self._threads:
            thread.join(10)
        return self.served


@pytest.fixture
def make_crowd():
    def make(max_waiting=10, max_per_address=10):
        return Crowd(FairQueue(1, max_waiting, max_per_address, retry_after=5))

    return make


def test_one_address_is_served_in_order(make_crowd):
    crowd = make_crowd()
    crowd.arrive("a1", "a2", "a3")

    assert crowd.serve() == ["a1", "a2", "a3"]


def test_addresses_take_turns(make_crowd):
    crowd = make_crowd()
    crowd.arrive("a1", "a2", "a3", "b1", "b2")

    assert crowd.serve() == ["a1", "b1", "a2", "b2", "a3"]


def test_an_address_that_was_served_before_waits_behind_one_that_was_not(make_crowd):
    crowd = make_crowd()
    crowd.arrive("a1")
    queue = crowd.queue
    crowd.serve()
    crowd = Crowd(queue)

    crowd.arrive("a2", "b1")

    assert crowd.serve() == ["b1", "a2"]


def test_a_full_queue_refuses_the_newcomer_of_those_that_are_equal(make_crowd):
    crowd = make_crowd(max_waiting=2)
    crowd.arrive("a1", "b1", "c1")

    assert crowd.refused == ["c1"]
    assert crowd.serve() == ["a1", "b1"]


def test_a_full_queue_makes_room_for_an_address_that_was_not_served_yet(make_crowd):
    crowd = make_crowd(max_waiting=2)
    crowd.arrive("a1", "b1")
    queue = crowd.queue
    crowd.serve()
    crowd = Crowd(queue)

    crowd.arrive("a2", "b2", "c1")
    wait_until(lambda: crowd.refused)

    assert crowd.refused == ["b2"]
    assert crowd.serve() == ["c1", "a2"]


def test_an_address_has_only_so_many_waiting(make_crowd):
    crowd = make_crowd(max_per_address=2)
    crowd.arrive("a1", "a2", "a3", "b1")

    assert crowd.refused == ["a3"]
    assert crowd.serve() == ["a1", "b1", "a2"]


def test_a_request_that_waited_too_long_is_refused_and_leaves_the_queue(make_crowd, monkeypatch):
    monkeypatch.setattr(fair_queue, "MAX_WAIT", 0.01)
    crowd = make_crowd()

    crowd.arrive("a1")
    wait_until(lambda: crowd.refused)

    assert crowd.serve() == []


def test_a_slot_is_free_again_after_an_error():
    queue = FairQueue(1, max_waiting=0, max_per_address=1, retry_after=5)
    with pytest.raises(ValueError, match="no"), queue.slot("a"):
        raise ValueError("no")

    with queue.slot("a"):
        pass
