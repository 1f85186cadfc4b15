"""Coalesces requests for the same kind of work into batches.

The first caller becomes the leader and does the work for all callers queued by then; callers that
arrive meanwhile form the next batch. Batches grow with the load, and a single caller does not wait.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from ..errors import FAILURES, Overloaded, ServerError, translate
from . import runtime

MAX_PENDING = 5000

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class _Waiting(Generic[Asked, Answer]):
    """The items of one caller, until they are answered."""

    def __init__(self, asked: Sequence[Asked]) -> None:
        self.asked = asked
        self.answers: Sequence[Answer | Exception] | None = None
        # Acquiring a lock a second time blocks until `wake` releases it: the cheapest way to wait.
        self._woken = threading.Lock()
        self._woken.acquire()

    def sleep(self) -> None:
        self._woken.acquire()

    def wake(self) -> None:
        self._woken.release()


class Coalescer(Generic[Asked, Answer]):
    """One kind of work, done for one batch at a time."""

    def __init__(
        self,
        work: Callable[[list[Asked]], Sequence[Answer | Exception]],
        most: int,
        max_pending: int = MAX_PENDING,
    ) -> None:
        """Create a coalescer that calls `work` with batches of about `most` items.

        `work` returns an answer for each item, in order. If it raises, the error is logged once and
        is the answer to the whole batch. A database failure is also the answer to everything in the
        queue at that moment: tried batch by batch, each would wait for its timeout. While
        `max_pending` items are queued, further callers get Overloaded at once.
        """
        self._work = work
        self._most = most
        self._max_pending = max_pending
        self._pending = 0
        self._queue: deque[_Waiting[Asked, Answer]] = deque()
        self._mutex = runtime.lock()
        self._working = False

    def ask(self, asked: Asked) -> Answer:
        """Return the answer to this item, or raise it if it is an exception. Blocks."""
        answer = self.ask_all([asked])[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def ask_all(self, asked: Sequence[Asked]) -> Sequence[Answer | Exception]:
        """Return the answers to these items, which stay in one batch. Raises Overloaded.

        Blocks until the batch is done.
        """
        waiting = _Waiting[Asked, Answer](asked)
        with self._mutex:
            first = not self._working
            if not first:
                if self._pending >= self._max_pending:
                    raise Overloaded
                self._queue.append(waiting)
                self._pending += len(asked)
            self._working = True
        if not first:
            waiting.sleep()
        if waiting.answers is None:
            self._lead(waiting)
        return waiting.answers or ()

    def _lead(self, waiting: _Waiting[Asked, Answer]) -> None:
        """Do the work for this caller and those in the queue, then wake the next leader."""
        party = [waiting]
        try:
            runtime.yield_to_loop()  # callers of the same loop iteration join the batch
            self._gather(party)
            self._answer(party)
        finally:
            with self._mutex:
                leader = self._queue.popleft() if self._queue else None
                self._pending -= len(leader.asked) if leader else 0
                self._working = leader is not None
            for others in party[1:]:
                others.wake()
            if leader:
                leader.wake()

    def _gather(self, party: list[_Waiting[Asked, Answer]]) -> None:
        size = len(party[0].asked)
        with self._mutex:
            while self._queue and size + len(self._queue[0].asked) <= self._most:
                party.append(self._queue.popleft())
                size += len(party[-1].asked)
                self._pending -= len(party[-1].asked)

    def _answer(self, party: list[_Waiting[Asked, Answer]]) -> None:
        try:
            answers = list(self._work([asked for waiting in party for asked in waiting.asked]))
        except BaseException as error:
            # Even a task that is being killed must answer the callers that it took from the queue.
            # Not with the error itself: each of them would add to its traceback and log it.
            owed = translate(error) if isinstance(error, Exception) else ServerError()
            if isinstance(error, FAILURES):
                with self._mutex:
                    party += self._queue
                    self._queue.clear()
                    self._pending = 0
            for waiting in party:
                waiting.answers = [owed] * len(waiting.asked)
            if not isinstance(error, Exception):
                raise
        else:
            start = 0
            for waiting in party:
                waiting.answers = answers[start : start + len(waiting.asked)]
                start += len(waiting.asked)
