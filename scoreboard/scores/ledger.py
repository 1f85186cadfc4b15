"""The ledger: records updates, in one transaction together, and tells the replays from the new.

Updates that arrive while another transaction is under way wait in a queue; whoever gets the next
turn takes all of them. So the busier the service, the more updates share a transaction, and
without load nobody waits for company.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DataError, IntegrityError

from .. import database
from ..errors import ServerError
from ..realtime.feed import Batch
from . import board, records
from .policy import Policy
from .records import Outcome, Receipt, Update

# One transaction stays short enough that those behind it wait milliseconds.
MOST_TOGETHER = 200


Publish = Callable[[Batch], None]
T = TypeVar("T")


class _Waiting:
    """An update in the queue, and its outcome once there is one."""

    def __init__(self, update: Update, received: float) -> None:
        self.update = update
        self.received = received
        self.outcome: Outcome | Exception | None = None


class Ledger:
    """Records updates one transaction at a time and publishes each before the next begins."""

    def __init__(self, policy: Policy, publish: Publish) -> None:
        self._policy = policy
        self._publish = publish
        self._turn = threading.Lock()
        self._queue: deque[_Waiting] = deque()
        self._clock = _Clock()

    def record(self, update: Update, received: float | None = None) -> Receipt:
        """Record the update and publish it; return its receipt.

        `received` is when the request came in, by time.perf_counter; by default, now.
        Raises Replayed, UnknownUser or ScoreOutOfRange, and what the database raises.
        """
        waiting = _Waiting(update, received or time.perf_counter())
        self._queue.append(waiting)
        with self._turn:
            while waiting.outcome is None:
                self._record_together(self._next())
        if isinstance(waiting.outcome, Exception):
            raise waiting.outcome
        return waiting.outcome

    def change(self, work: Callable[[Connection], T]) -> T:
        """Return what `work` does to the standings, in a transaction of its own, published."""

        def write(connection: Connection) -> tuple[int, T, Sequence[board.Entry]]:
            version = database.next_version(connection)
            return version, work(connection), board.top(connection)

        with self._turn:
            version, done, top = database.transaction(write)
            self._publish(Batch(version, [], board.top10(top)))
        return done

    def _next(self) -> list[_Waiting]:
        together: list[_Waiting] = []
        while self._queue and len(together) < MOST_TOGETHER:
            together.append(self._queue.popleft())
        return together

    def _record_together(self, together: list[_Waiting]) -> None:
        """Give each its outcome; if the transaction fails, each is tried alone."""
        try:
            outcomes, batch = self._commit([waiting.update for waiting in together])
        except (IntegrityError, DataError) as error:
            # One of them is at fault; none of the others shall suffer for it.
            if len(together) > 1:
                for waiting in together:
                    self._record_together([waiting])
            else:
                together[0].outcome = error
        except BaseException as error:
            # Even a thread that is being ended owes those it took from the queue an answer. They
            # are not tried again: with the connection lost, they may have been committed.
            for waiting in together:
                waiting.outcome = error if isinstance(error, Exception) else ServerError()
            if not isinstance(error, Exception):
                raise
        else:
            told = zip(together, outcomes, strict=True)
            batch.received.extend(w.received for w, outcome in told if isinstance(outcome, Receipt))
            try:
                self._publish(batch)
            finally:
                for waiting, outcome in zip(together, outcomes, strict=True):
                    waiting.outcome = outcome

    def _commit(self, updates: list[Update]) -> tuple[list[Outcome], Batch]:
        """Return the outcomes of the committed updates, and what to publish."""
        replays: set[records.Key] = set()

        def write(connection: Connection) -> tuple[int, list[Outcome], Sequence[board.Entry]]:
            version = database.next_version(connection)
            outcomes = records.write(
                connection, updates, self._policy, self._clock, replays, version
            )
            return version, outcomes, board.top(connection)

        while True:
            try:
                version, outcomes, top = database.transaction(write)
            except records.ReplayError as found:
                replays |= found.keys
            else:
                told = [
                    board.score_update(outcome.user_id, outcome.score)
                    for outcome in outcomes
                    if isinstance(outcome, Receipt)
                ]
                return outcomes, Batch(version, told, board.top10(top))


class _Clock:
    """The server's time, never twice the same and never going back within the process."""

    def __init__(self) -> None:
        self._last = datetime.min.replace(tzinfo=UTC)

    def __call__(self) -> datetime:
        self._last = max(datetime.now(UTC), self._last + timedelta(microseconds=1))
        return self._last
