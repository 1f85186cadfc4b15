"""The ledger: records updates in batches, one transaction each, and detects replays.

Updates that arrive while a transaction runs form the next batch. So batches grow with the load, and
without load no update waits for others.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DataError, IntegrityError

from ..concurrency.coalescer import Coalescer
from ..db import transactions as database
from ..errors import Overloaded, ServerError
from ..leaderboard import top10 as board
from ..leaderboard.top10 import Batch
from . import records
from .policy import Policy
from .records import Outcome, Receipt, Update

log = logging.getLogger(__name__)

# Updates per transaction: few enough that queued updates wait only milliseconds.
MAX_BATCH_SIZE = 200
# About a second's work: `make bench` shows 1,600 to 2,000 updates/s by HTTP on one core. A client
# that would wait longer gets `overloaded` and tries again.
MAX_PENDING_UPDATES = 2000

Publish = Callable[[Batch], None]
T = TypeVar("T")
# An update, and when it was received, in seconds of time.perf_counter.
_Received = tuple[Update, float]


class Ledger:
    """Records updates one transaction at a time and publishes each batch before the next begins."""

    def __init__(self, policy: Policy, publish: Publish) -> None:
        self._policy = policy
        self._publish = publish
        self._turn = threading.Lock()
        self._together = Coalescer[_Received, Receipt](
            self._record_together, MAX_BATCH_SIZE, MAX_PENDING_UPDATES
        )

    def record(self, update: Update, received: float | None = None) -> Receipt:
        """Record and publish the update; return its receipt. Blocks until the commit.

        `received` is when the request arrived, in seconds of time.perf_counter; by default, now.
        Raises Replayed, UnknownUser, ScoreOutOfRange, ServerError or Overloaded, or the database
        error that this update alone causes.
        """
        return self._together.run((update, received or time.perf_counter()))

    def record_all(self, updates: Sequence[Update], received: float) -> list[Receipt | Exception]:
        """Record and publish the updates in order; return a receipt or an error for each.

        Blocks until they are committed. More than MAX_BATCH_SIZE take several transactions, between
        which other updates may be recorded. If one of these fails as a whole, its updates and all
        later ones get the error; the later ones are not tried.
        """
        outcomes: list[Receipt | Exception] = []
        for start in range(0, len(updates), MAX_BATCH_SIZE):
            portion = [(update, received) for update in updates[start : start + MAX_BATCH_SIZE]]
            try:
                outcomes += self._together.run_all(portion)
            except Overloaded as error:
                outcomes.append(Overloaded(error.retry_after, status=500))
            if isinstance(outcomes[-1], (ServerError, Overloaded)):
                outcomes += [outcomes[-1]] * (len(updates) - len(outcomes))
                break
        return outcomes

    def change(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in its own transaction, publish the board and return the result. Blocks."""

        def write(connection: Connection) -> tuple[int, T, Sequence[board.Entry]]:
            version, _ = database.next_version(connection)
            return version, work(connection), board.top(connection)

        with self._turn:
            version, done, top = database.transaction(write, reserved=True)
            self._tell(Batch(version, [], board.top10(top)))
        return done

    def _record_together(self, together: Sequence[_Received]) -> Sequence[Outcome | Exception]:
        with self._turn:
            try:
                return self._record_and_publish(together)
            except (IntegrityError, DataError):
                # One update is at fault; record each separately so that the others succeed.
                return [self._record_alone(each) for each in together]

    def _record_alone(self, received: _Received) -> Outcome | Exception:
        outcome: Outcome | Exception
        try:
            (outcome,) = self._record_and_publish([received])
        except Exception as error:
            outcome = error
        return outcome

    def _record_and_publish(self, together: Sequence[_Received]) -> list[Outcome]:
        outcomes, batch = self._commit([update for update, _ in together])
        if batch:
            batch.received.extend(
                moment
                for (_, moment), outcome in zip(together, outcomes, strict=True)
                if isinstance(outcome, Receipt)
            )
            self._tell(batch)
        return outcomes

    def _tell(self, batch: Batch) -> None:
        """Publish a committed batch. Logs errors: a failed push does not undo the commit."""
        try:
            self._publish(batch)
        except Exception:
            log.exception("version %s of the board could not be published", batch.version)

    def _commit(self, updates: list[Update]) -> tuple[list[Outcome], Batch | None]:
        """Commit the updates; return their outcomes and the batch to publish.

        If all are refused, nothing is committed and the batch is None.
        """
        replays: set[records.Key] = set()

        def write(connection: Connection) -> tuple[int, list[Outcome], Sequence[board.Entry]]:
            version, moments = database.next_version(connection, len(updates))
            outcomes = records.write(connection, updates, self._policy, moments, replays, version)
            if not any(isinstance(outcome, Receipt) for outcome in outcomes):
                raise _AllRefused(outcomes)
            return version, outcomes, board.top(connection)

        while True:
            try:
                version, outcomes, top = database.transaction(write, reserved=True)
            except records.ReplayError as found:
                replays |= found.keys
            except _AllRefused as found:
                return found.outcomes, None
            else:
                told = [
                    board.score_update(outcome.user_id, outcome.score)
                    for outcome in outcomes
                    if isinstance(outcome, Receipt)
                ]
                return outcomes, Batch(version, told, board.top10(top))


class _AllRefused(Exception):
    """No update of the transaction is accepted: roll it back, including its board version."""

    def __init__(self, outcomes: list[Outcome]) -> None:
        super().__init__(outcomes)
        self.outcomes = outcomes
