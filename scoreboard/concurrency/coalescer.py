"""Done together: what several ask for at the same time is done in one go.

Whoever asks first does it for all who have asked by then; those who come while it is being done
are the next. So the busier the service, the more share the work, and alone nobody waits.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from ..errors import FAILURES, Overloaded, ServerError, translate
from . import runtime as transport

MAX_PENDING = 5000

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class _Waiting(Generic[Asked, Answer]):
    """What somebody asks for, until it is answered."""

    def __init__(self, asked: Sequence[Asked]) -> None:
        self.asked = asked
        self.answers: Sequence[Answer | Exception] | None = None
        # Taken twice, a lock waits for whoever lets go of it: the cheapest there is to wait for.
        self._woken = threading.Lock()
        self._woken.acquire()

    def sleep(self) -> None:
        self._woken.acquire()

    def wake(self) -> None:
        self._woken.release()


class Together(Generic[Asked, Answer]):
    """One kind of work, done for one party at a time."""

    def __init__(
        self,
        work: Callable[[list[Asked]], Sequence[Answer | Exception]],
        most: int,
        max_pending: int = MAX_PENDING,
    ) -> None:
        """Call `work` with what was asked for, about `most` at a time.

        `work` returns an answer for each, in that order. If it raises, that is logged once and is
        the answer to all of them. A failure of the database is also the answer to all that is in
        the queue at that moment: tried one batch after another, each would wait for its timeout.
        At most `max_pending` may be in the queue; more raise Overloaded at once.
        """
        self._work = work
        self._most = most
        self._max_pending = max_pending
        self._pending = 0
        self._queue: deque[_Waiting[Asked, Answer]] = deque()
        self._mutex = transport.lock()
        self._working = False

    def ask(self, asked: Asked) -> Answer:
        """Return the answer to this one, or raise it if it is an exception."""
        answer = self.ask_all([asked])[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def ask_all(self, asked: Sequence[Asked]) -> Sequence[Answer | Exception]:
        """Return the answers to all of these, which stay together. Raises Overloaded.

        Blocks until they are there.
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
        """Do the work for this one and everybody in the queue, then have the next lead."""
        party = [waiting]
        try:
            transport.give_way()  # for those that come in the same turn of the loop
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
            # Even a task that is being ended owes those that it took from the queue an answer. Not
            # the error itself: everyone who raises it adds to its traceback, and logs it.
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
