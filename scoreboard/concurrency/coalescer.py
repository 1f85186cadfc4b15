"""Coalesce concurrent calls into batches.

The first caller becomes the leader and processes the items of all callers queued by then. Callers
that arrive meanwhile form the next batch, so batches grow with the load.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from ..errors import DATABASE_ERRORS, Overloaded, ServerError, translate
from . import runtime

MAX_PENDING = 5000

Item = TypeVar("Item")
Result = TypeVar("Result")
Process = Callable[[list[Item]], Sequence[Result | Exception]]


class _Call(Generic[Item, Result]):
    """The items of one caller; `results` is None until they are processed."""

    def __init__(self, items: Sequence[Item]) -> None:
        self.items = items
        self.results: Sequence[Result | Exception] | None = None
        self.woken = runtime.Signal()


class Coalescer(Generic[Item, Result]):
    """Processes items in batches, one batch at a time."""

    def __init__(
        self, process: Process[Item, Result], max_batch_size: int, max_pending: int = MAX_PENDING
    ) -> None:
        """Create a coalescer that calls `process` with the items of one or more calls.

        `process` returns a result for each item, in order. If it raises, the error is logged once
        and is the result of the whole batch. A database failure or Overloaded is also the result of
        everything in the queue at that moment: processed batch by batch, each would wait for its
        timeout. While `max_pending` items are queued, further callers get Overloaded at once.
        """
        self._process = process
        self._max_batch_size = max_batch_size
        self._max_pending = max_pending
        self._pending = 0
        self._queue: deque[_Call[Item, Result]] = deque()
        self._lock = runtime.lock()
        self._busy = False

    def run(self, item: Item) -> Result:
        """Return the result of this item, or raise it if it is an exception. Blocks."""
        return runtime.result_of(self.run_all([item])[0])

    def run_all(self, items: Sequence[Item]) -> Sequence[Result | Exception]:
        """Return the results of these items, from one batch. Blocks. Raises Overloaded."""
        call = _Call[Item, Result](items)
        with self._lock:
            leads = not self._busy
            if not leads:
                if self._pending >= self._max_pending:
                    raise Overloaded
                self._queue.append(call)
                self._pending += len(items)
            self._busy = True
        if not leads:
            call.woken.wait()
        if call.results is None:
            self._lead(call)
        return call.results or ()

    def _lead(self, call: _Call[Item, Result]) -> None:
        """Process this call and those in the queue, then wake the next leader."""
        batch = [call]
        try:
            runtime.yield_to_loop()  # callers of the same loop iteration join the batch
            self._fill(batch)
            self._run_batch(batch)
        finally:
            with self._lock:
                leader = self._pop() if self._queue else None
                self._busy = leader is not None
            for each in batch[1:]:
                each.woken.set()
            if leader:
                leader.woken.set()

    def _pop(self) -> _Call[Item, Result]:
        call = self._queue.popleft()
        self._pending -= len(call.items)
        return call

    def _fill(self, batch: list[_Call[Item, Result]]) -> None:
        size = len(batch[0].items)
        with self._lock:
            while self._queue and size + len(self._queue[0].items) <= self._max_batch_size:
                batch.append(self._pop())
                size += len(batch[-1].items)

    def _run_batch(self, batch: list[_Call[Item, Result]]) -> None:
        try:
            results = iter(list(self._process([item for call in batch for item in call.items])))
        except BaseException as error:
            # Even a task that is being killed must wake the callers that it took from the queue.
            # Not with the error itself: each caller would add to its traceback and log it.
            sent = translate(error) if isinstance(error, Exception) else ServerError()
            if isinstance(error, (*DATABASE_ERRORS, Overloaded)):
                with self._lock:
                    while self._queue:
                        batch.append(self._pop())
            for call in batch:
                call.results = [sent] * len(call.items)
            if not isinstance(error, Exception):
                raise
        else:
            for call in batch:
                call.results = [next(results) for _ in call.items]
