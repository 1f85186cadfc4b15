"""A bounded queue is fair between addresses and refuses callers that it has no room for."""

import contextlib
import threading

import pytest

from scoreboard.concurrency.bounded_queue import BoundedQueue
from scoreboard.errors import Overloaded
from tests.support.waiting import wait_until


class Failed(Exception):
    """A failure of the resource, which waiting callers share."""


class Callers:
    """Callers in threads; another caller holds the only slot. A name is address and number."""

    def __init__(self, max_waiting=10, timeout=10, **options):
        self.queue = BoundedQueue(1, max_waiting, timeout, shared=(Failed,), **options)
        self.served, self.refused, self.failed = [], [], []
        self._threads = []
        self.hold_slot()

    def hold_slot(self):
        self._slot = self.queue.slot("holder")
        self._slot.__enter__()

    def arrive(self, *names):
        """Start these callers, each when the previous one is queued or refused."""
        for name in names:
            self._threads.append(threading.Thread(target=self._call, args=(name,)))
            before = self._arrived()
            self._threads[-1].start()
            wait_until(lambda before=before: self._arrived() > before)

    def _arrived(self):
        return sum(map(len, self.queue._waiting.values())) + len(self.refused)

    def _call(self, name):
        try:
            with self.queue.slot(name[0]):
                self.served.append(name)
        except Overloaded:
            self.refused.append(name)
        except Failed:
            self.failed.append(name)

    def release_slot(self, error=None):
        """Release the slot, with an error if given; return the callers served, in order."""
        with contextlib.suppress(Failed, ValueError):
            self._slot.__exit__(type(error) if error else None, error, None)
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()
        return self.served


@pytest.mark.parametrize(
    ("options", "arriving", "refused", "served"),
    [
        ({}, "a1 a2 a3", "", "a1 a2 a3"),
        ({}, "a1 a2 a3 b1 b2", "", "a1 b1 a2 b2 a3"),
        ({"max_waiting": 2}, "a1 b1 c1", "c1", "a1 b1"),
        ({"max_waiting": 2}, "a1 b1 a2", "a2", "a1 b1"),
        ({"max_waiting": 0}, "a1", "a1", ""),
        ({"max_per_address": 2}, "a1 a2 a3 b1", "a3", "a1 b1 a2"),
    ],
    ids=["order", "fair", "full, three addresses", "full", "no queue", "limit per address"],
)
def test_callers_are_served_fairly_and_the_rest_is_refused(options, arriving, refused, served):
    callers = Callers(**options)

    callers.arrive(*arriving.split())

    assert callers.refused == refused.split()
    assert callers.release_slot() == served.split()


def test_an_address_that_was_served_waits_behind_new_addresses_and_is_refused_first():
    callers = Callers(max_waiting=2)
    callers.arrive("a1", "b1")
    callers.release_slot()
    callers.hold_slot()

    callers.arrive("a2", "b2", "c1")
    wait_until(lambda: callers.refused)

    assert callers.refused == ["b2"]
    assert callers.release_slot() == ["a1", "b1", "c1", "a2"]


def test_a_caller_that_waits_too_long_is_refused_and_leaves_the_queue():
    callers = Callers(timeout=0.01)

    callers.arrive("a1")
    wait_until(lambda: callers.refused)

    assert callers.release_slot() == []


@pytest.mark.parametrize(
    ("error", "served", "failed"),
    [(Failed(), [], ["a1", "a2"]), (ValueError(), ["a1", "a2"], [])],
    ids=["shared", "other"],
)
def test_waiting_callers_share_only_failures_of_the_resource(error, served, failed):
    callers = Callers()
    callers.arrive("a1", "a2")

    callers.release_slot(error)

    assert (callers.served, sorted(callers.failed)) == (served, failed)
    with callers.queue.slot():
        pass


def test_a_caller_beyond_the_number_of_slots_is_refused():
    queue = BoundedQueue(2, max_waiting=0, timeout=10, retry_after=5)

    with queue.slot(), queue.slot(), pytest.raises(Overloaded) as refusal, queue.slot():
        pass

    assert refusal.value.retry_after == 5


def test_the_waits_of_callers_that_are_not_admitted_at_once_are_observed():
    waits = []
    callers = Callers(observe_wait=waits.append)
    callers.arrive("a1", "a2")

    callers.release_slot()

    assert len(waits) == 2
