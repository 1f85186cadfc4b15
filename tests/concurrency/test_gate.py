"""A bounded queue in front of a resource that few callers can use at a time."""

import threading

import pytest

from scoreboard.concurrency.gate import Gate
from scoreboard.errors import Overloaded
from tests.support.waiting import wait_until


class Failed(Exception):
    """What the resource of these tests fails with."""


class Holder(threading.Thread):
    """A caller that holds a slot until it is released; `outcome` is how its call ended."""

    def __init__(self, gate, error=None):
        super().__init__()
        self.gate, self.error = gate, error
        self.inside, self.may_leave = threading.Event(), threading.Event()
        self.outcome = None
        self.start()

    def run(self):
        try:
            with self.gate.slot():
                self.inside.set()
                assert self.may_leave.wait(10)
                if self.error:
                    raise self.error
            self.outcome = "done"
        except Exception as error:
            self.outcome = error

    def release(self):
        self.may_leave.set()
        self.join(10)
        return self.outcome


def waiting(gate, count):
    wait_until(lambda: gate._waiting == count)


def test_as_many_callers_are_inside_as_there_are_slots():
    gate = Gate(2, max_waiting=10, timeout=10)
    first, second = Holder(gate), Holder(gate)
    assert first.inside.wait(10)
    assert second.inside.wait(10)

    third = Holder(gate)

    waiting(gate, 1)
    assert not third.inside.is_set()
    first.release()
    assert third.inside.wait(10)
    assert [second.release(), third.release()] == ["done", "done"]


def test_a_full_queue_refuses_the_next_caller_at_once():
    gate = Gate(1, max_waiting=1, timeout=10)
    holder, queued = Holder(gate), None
    assert holder.inside.wait(10)
    queued = Holder(gate)
    waiting(gate, 1)

    with pytest.raises(Overloaded), gate.slot():
        pass

    holder.release()
    assert queued.release() == "done"


def test_a_caller_that_waits_too_long_is_refused():
    gate = Gate(1, max_waiting=1, timeout=0.01)
    holder = Holder(gate)
    assert holder.inside.wait(10)

    with pytest.raises(Overloaded), gate.slot():
        pass

    holder.release()
    with gate.slot():
        pass


def test_waiting_callers_share_the_failure_of_the_caller_inside():
    gate = Gate(1, max_waiting=10, timeout=10, shared=(Failed,))
    holder = Holder(gate, error=Failed())
    assert holder.inside.wait(10)
    queued = [Holder(gate) for _ in range(3)]
    waiting(gate, 3)

    holder.release()

    for each in queued:
        each.join(10)
    assert [type(each.outcome) for each in queued] == [Failed] * 3
    with gate.slot():
        pass


def test_other_errors_are_the_callers_own():
    gate = Gate(1, max_waiting=10, timeout=10, shared=(Failed,))
    holder = Holder(gate, error=ValueError())
    assert holder.inside.wait(10)
    queued = Holder(gate)
    waiting(gate, 1)

    holder.release()

    assert queued.inside.wait(10)
    assert queued.release() == "done"
