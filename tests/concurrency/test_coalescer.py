"""Concurrent calls are processed in batches."""

import threading

import pytest
from sqlalchemy.exc import OperationalError

from scoreboard.concurrency.coalescer import Coalescer
from scoreboard.errors import Overloaded, ServerError
from tests.support.waiting import wait_until


class Calls:
    """Calls in threads. The first batch is processed only when `results` is called."""

    def __init__(self, process=lambda item: item * 10, max_batch_size=10, **options):
        self.coalescer = Coalescer(self._process, max_batch_size, **options)
        self.batches = []
        self._process_item = process
        self._may_process = threading.Event()
        self._results, self._threads = {}, []

    def _process(self, items):
        self.batches.append(items)
        assert self._may_process.wait(10)
        return [self._process_item(item) for item in items]

    def start(self, *items):
        """Start a call, and return when it is processed or queued."""

        def run():
            self._results[items] = self.coalescer.run_all(items)

        self._threads.append(threading.Thread(target=run))
        self._threads[-1].start()
        queued = len(self._threads) - 1
        wait_until(lambda: self.batches and len(self.coalescer._queue) == queued)

    def results(self):
        self._may_process.set()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()
        return self._results


def test_calls_that_arrive_during_a_batch_share_the_next():
    calls = Calls()
    for number in (1, 2, 3, 4):
        calls.start(number)

    results = calls.results()

    assert results == {(1,): [10], (2,): [20], (3,): [30], (4,): [40]}
    assert calls.batches == [[1], [2, 3, 4]]


def test_a_batch_has_a_maximum_size_and_never_splits_a_call():
    calls = Calls(max_batch_size=4)
    for items in [(1,), (2, 3), (4,), (5, 6), (7, 8, 9, 10, 11)]:
        calls.start(*items)

    calls.results()

    assert calls.batches == [[1], [2, 3, 4], [5, 6], [7, 8, 9, 10, 11]]


def test_a_full_queue_refuses_the_next_call():
    calls = Calls(max_pending=2)
    calls.start(1)
    calls.start(2, 3)

    with pytest.raises(Overloaded):
        calls.coalescer.run(4)

    assert calls.results() == {(1,): [10], (2, 3): [20, 30]}


@pytest.mark.parametrize(
    ("error", "batches"),
    [(ValueError("bad"), [[1], [2, 3]]), (OperationalError("", {}, None), [[1]])],
    ids=["any error", "database failure"],
)
def test_an_error_fails_the_batch_and_a_database_failure_the_whole_queue(
    unexpected_errors, error, batches
):
    def fail(item):
        raise error

    calls = Calls(fail)
    for number in (1, 2, 3):
        calls.start(number)

    results = calls.results()

    assert [type(results[number,][0]) for number in (1, 2, 3)] == [ServerError] * 3
    assert calls.batches == batches
    assert unexpected_errors == [error] * len(batches)
