"""The ledger: records updates in batches, one transaction each, and publishes each commit.

Updates that arrive while a transaction runs form the next batch, so batches grow with the load.
`records.write` detects replays and computes the scores; `publish` in `realtime/hub.py` is called
after each commit.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DataError, IntegrityError

from ..concurrency.coalescer import Coalescer
from ..db import transactions
from ..errors import Overloaded, ServerError
from ..leaderboard import top10
from ..leaderboard.top10 import BoardChange
from . import records
from .policy import Policy
from .records import Key, Outcome, Receipt, Update

log = logging.getLogger(__name__)

# Updates per transaction: few enough that queued updates wait only milliseconds.
MAX_BATCH_SIZE = 200
# About a second's work: `make bench` shows 1,600 to 2,000 updates/s by HTTP on one core. A client
# that would wait longer gets `overloaded` and tries again.
MAX_PENDING_UPDATES = 2000

Publish = Callable[[BoardChange], None]
T = TypeVar("T")


class Ledger:
    """Records updates one transaction at a time and publishes each batch before the next begins."""

    def __init__(self, policy: Policy, publish: Publish) -> None:
        self._policy = policy
        self._publish = publish
        self._lock = threading.Lock()
        self._batches = Coalescer[Update, Receipt](
            self._record_batch, MAX_BATCH_SIZE, MAX_PENDING_UPDATES
        )

    def record(self, update: Update) -> Receipt:
        """Record and publish the update; return its receipt. Blocks until the commit.

        Raises Replayed, UnknownUser, ScoreOutOfRange, ServerError, Overloaded or a database error.
        """
        return self._batches.run(update)

    def record_all(self, updates: Sequence[Update]) -> list[Receipt | Exception]:
        """Record and publish the updates in order; return a receipt or an error for each.

        Blocks until they are committed. More than MAX_BATCH_SIZE take several transactions, between
        which other updates may be recorded. If one of these fails as a whole, its updates and all
        later ones get the error; the later ones are not tried.
        """
        outcomes: list[Receipt | Exception] = []
        for start in range(0, len(updates), MAX_BATCH_SIZE):
            try:
                outcomes += self._batches.run_all(updates[start : start + MAX_BATCH_SIZE])
            except Overloaded as error:
                outcomes.append(Overloaded(error.retry_after, status=500))
            if isinstance(outcomes[-1], (ServerError, Overloaded)):
                outcomes += [outcomes[-1]] * (len(updates) - len(outcomes))
                break
        return outcomes

    def change(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in its own transaction, publish the board and return the result. Blocks."""

        def write(connection: Connection) -> tuple[T, BoardChange]:
            version, _ = transactions.next_version(connection)
            return work(connection), BoardChange(version, [], top10.read(connection))

        with self._lock:
            result, change = transactions.transaction(write, reserved=True)
            self._publish_committed(change)
        return result

    def _record_batch(self, updates: Sequence[Update]) -> Sequence[Outcome | Exception]:
        with self._lock:
            try:
                return self._commit(updates)
            except (IntegrityError, DataError):
                # One update is at fault: record each separately, so that the rest succeed.
                outcomes: list[Outcome | Exception] = []
                for update in updates:
                    try:
                        outcomes += self._commit([update])
                    except Exception as error:
                        outcomes.append(error)
                return outcomes

    def _commit(self, updates: Sequence[Update]) -> list[Outcome]:
        """Commit and publish the updates. If all are refused, nothing is committed."""
        replays: set[Key] = set()

        def write(connection: Connection) -> tuple[list[Outcome], BoardChange]:
            version, moments = transactions.next_version(connection, len(updates))
            outcomes = records.write(connection, updates, self._policy, moments, replays, version)
            pairs = zip(updates, outcomes, strict=True)
            accepted = [(u.received, each) for u, each in pairs if isinstance(each, Receipt)]
            if not accepted:
                raise _AllRefused(outcomes)
            received = [moment for moment, _ in accepted]
            messages = [top10.score_update(each.user_id, each.score) for _, each in accepted]
            return outcomes, BoardChange(version, messages, top10.read(connection), received)

        while True:
            try:
                outcomes, change = transactions.transaction(write, reserved=True)
            except records.ReplayError as found:
                replays |= found.keys
            except _AllRefused as refused:
                return refused.outcomes
            else:
                self._publish_committed(change)
                return outcomes

    def _publish_committed(self, change: BoardChange) -> None:
        """Publish the change. Logs errors: a failed push does not undo the commit."""
        try:
            self._publish(change)
        except Exception:
            log.exception("version %s of the board could not be published", change.version)


class _AllRefused(Exception):
    """No update of the transaction is accepted: roll it back, including its board version."""

    def __init__(self, outcomes: list[Outcome]) -> None:
        super().__init__(outcomes)
        self.outcomes = outcomes
