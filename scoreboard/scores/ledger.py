"""The ledgers: each records updates in batches, one transaction each, and publishes each commit.

A ledger is a board that takes updates; each update also counts on the boards derived from it, in
the same transaction. Updates that arrive while a transaction runs form the next batch, so batches
grow with the load. Ledgers write independently of each other. `records.write` detects replays and
computes the scores; `publish` in `realtime/hub.py` is called after each commit.
"""

import contextlib
import contextvars
import logging
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DataError, IntegrityError

from ..boards import store, versions
from ..boards.board import BoardState
from ..boards.directory import BoardDirectory
from ..boards.store import Current, LedgerBoards
from ..concurrency import runtime
from ..concurrency.coalescer import Coalescer
from ..db import transactions
from ..db.engine import LOCK_TIMEOUT
from ..db.transactions import LedgerVersion, moment_of, moments
from ..errors import FreezeDue, Overloaded, ServerError, UnknownBoard
from ..leaderboard import top10
from ..leaderboard.top10 import LedgerChange, NewScore
from ..models import MAIN
from . import events, records
from .records import Found, Outcome, Receipt, Update

log = logging.getLogger(__name__)

# Updates per transaction: few enough that queued updates wait only milliseconds.
MAX_BATCH_SIZE = 200
# About a second's work: `make bench` shows 1,600 to 2,000 updates/s by HTTP on one core. A client
# that would wait longer gets `overloaded` and tries again.
MAX_PENDING_UPDATES = 2000

Publish = Callable[[LedgerChange], None]
T = TypeVar("T")
# Changes a ledger in its transaction; called with the boards and the time of the transaction, which
# is later than that of all updates so far.
Work = Callable[[Connection, LedgerBoards, datetime], T]


class Ledgers:
    """The ledgers of an application, each created when it is first used."""

    def __init__(self, directory: BoardDirectory, publish: Publish) -> None:
        self._directory = directory
        self._publish = publish
        self._ledgers: dict[str, Ledger] = {}

    def get(self, ledger_id: str = MAIN) -> "Ledger":
        """Return a ledger. Does not check whether there is such a board."""
        if ledger_id not in self._ledgers:
            self._ledgers[ledger_id] = Ledger(ledger_id, self._directory, self._publish)
        return self._ledgers[ledger_id]

    def change_all(self, work: Callable[[Connection], Collection[str]]) -> None:
        """Run `work` in a transaction that locks all ledgers; publish the boards that it returns.

        Blocks. No update of any ledger is in progress during `work`.
        """
        changes: list[LedgerChange] = []

        def write(connection: Connection) -> None:
            changes.clear()  # the transaction may be tried again
            store.lock_ledgers(connection)
            by_ledger = store.by_ledger(connection, work(connection))
            for ledger_id, board_ids in sorted(by_ledger.items()):
                opened = self.get(ledger_id).new_version(connection, 0, keeps_stamp=True)
                changes.append(opened.change(connection, touched=board_ids))

        while True:
            try:
                transactions.transaction(write, reserved=True)
                break
            except FreezeDue as due:
                self.get(due.ledger_id).freeze_due(due.count)
        for change in changes:
            self.get(change.ledger_id).publish(change)

    def change_user(self, user_id: str, work: Callable[[Connection], object]) -> None:
        """Run `work`, which changes how a user is shown, and publish the boards the user is on.

        Blocks, and locks all ledgers, as `change_all` does.
        """

        def write(connection: Connection) -> Collection[str]:
            work(connection)
            return store.touch_user(connection, user_id)

        self.change_all(write)


class Ledger:
    """Records updates one transaction at a time and publishes each batch before the next begins."""

    def __init__(self, ledger_id: str, directory: BoardDirectory, publish: Publish) -> None:
        self.ledger_id = ledger_id
        self._directory = directory
        self._publish = publish
        self._lock = threading.Lock()
        self._batches = Coalescer[Update, Receipt](
            self._record_batch, MAX_BATCH_SIZE, MAX_PENDING_UPDATES
        )

    def record(self, update: Update) -> Receipt:
        """Record and publish the update; return its receipt. Blocks until the commit.

        Raises Replayed, UnknownUser, ScoreOutOfRange, BoardClosed, SeasonOver, ServerError,
        Overloaded or a database error. Overloaded also means that a long change of the ledger runs.
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

    def change(self, work: Work[T], count: int = 1) -> T:
        """Run `work` in a transaction of this ledger, publish it and return the result. Blocks.

        `work` may change the settings of the boards. The seasons that are due are opened before it.
        Freezing a board takes as long as it needs; updates that wait for longer than LOCK_TIMEOUT
        get Overloaded meanwhile. Raises UnknownBoard if the ledger does not exist or is archived,
        and Overloaded after LOCK_TIMEOUT. The clock moves on as for `count` updates.
        """

        def write(connection: Connection) -> tuple[T, _Transaction, LedgerChange]:
            # A time of its own, as for an update: a season that it ends has all updates so far.
            opened = self.new_version(connection, count, keeps_stamp=True, may_freeze=True)
            result = work(connection, opened.current.boards, moment_of(opened.current.clock))
            opened.reload(connection, self._directory.store)
            return result, opened, opened.change(connection)

        with self._locked():
            result, opened, change = transactions.transaction(write, reserved=True)
            self._committed(opened, change)
        return result

    def bring_up_to_date(self) -> None:
        """Open the seasons that are due, and open, close or freeze the boards. Blocks."""
        self.change(lambda connection, boards, now: None)

    def freeze_due(self, count: int) -> None:
        """Freeze the boards that are due before the time of `count` more updates.

        Blocks for up to LOCK_TIMEOUT, then raises Overloaded while another task continues.
        """
        context = contextvars.copy_context()  # with the application
        try:
            runtime.within(LOCK_TIMEOUT, context.run, self.change, lambda *_: None, max(count, 1))
        except TimeoutError:
            raise Overloaded from None

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock of this process. Raises Overloaded after LOCK_TIMEOUT."""
        if not self._lock.acquire(timeout=LOCK_TIMEOUT):
            raise Overloaded
        try:
            yield
        finally:
            self._lock.release()

    def new_version(
        self,
        connection: Connection,
        count: int,
        keeps_stamp: bool = False,
        may_freeze: bool = False,
    ) -> "_Transaction":
        """Lock the ledger; return its transaction for `count` updates, in the season of its time.

        `keeps_stamp` is for what is not an update: it gives the boards that it changes new stamps.
        Raises UnknownBoard, and FreezeDue unless it `may_freeze` boards.
        """
        version = transactions.next_version(connection, count, self.ledger_id, keeps_stamp)
        if version is None:
            raise UnknownBoard
        known = self._directory.known(self.ledger_id)
        current = self._directory.store.current(
            connection, self.ledger_id, version, count, known, may_freeze
        )
        if not current.boards.boards:
            raise UnknownBoard
        return _Transaction(
            self.ledger_id, version, current, events.leaders(connection, current.boards)
        )

    def publish(self, change: LedgerChange) -> None:
        """Publish a committed change. Logs errors: a failed push does not undo the commit."""
        try:
            self._publish(change)
        except Exception:
            log.exception("version %s of %s could not be published", change.version, self.ledger_id)

    def _record_batch(self, updates: Sequence[Update]) -> Sequence[Outcome | Exception]:
        while True:
            try:
                with self._locked():
                    return self._record_locked(updates)
            except FreezeDue as due:
                self.freeze_due(due.count)

    def _record_locked(self, updates: Sequence[Update]) -> Sequence[Outcome | Exception]:
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

    def _commit(self, updates: Sequence[Update]) -> Sequence[Outcome]:
        """Commit and publish the updates. If all are refused, nothing is committed."""
        found = Found()

        def write(connection: Connection) -> tuple[list[Outcome], _Transaction, LedgerChange]:
            opened = self.new_version(connection, len(updates))
            boards = opened.current.boards.boards
            times = moments(opened.current.clock, len(updates))
            version = opened.version.version
            written = records.write(connection, updates, boards, times, found, version)
            pairs = zip(updates, written.outcomes, strict=True)
            received = [update.received for update, each in pairs if isinstance(each, Receipt)]
            if not received:
                raise _AllRefused(written.outcomes)
            # The version has already given the ledger a new stamp.
            derived = written.changed - {self.ledger_id}
            if derived:
                versions.touch(connection, derived)
            change = opened.change(connection, written.scores, received)
            return written.outcomes, opened, change

        while True:
            try:
                outcomes, opened, change = transactions.transaction(write, reserved=True)
            except records.FoundError as error:
                found.keys |= error.found.keys
                found.tickets |= error.found.tickets
            except _AllRefused as refused:
                return refused.outcomes
            except UnknownBoard as error:
                # Archived since the submission found it.
                return [error.in_update()] * len(updates)
            else:
                self._committed(opened, change)
                return outcomes

    def _committed(self, opened: "_Transaction", change: LedgerChange) -> None:
        self._directory.keep(self.ledger_id, opened.current.boards)
        self.publish(change)


class _Transaction:
    """A transaction of a ledger: its version, and the boards in the season of its time.

    `leaders` were first at its start on the boards of which a webhook asks for the next.
    """

    def __init__(
        self, ledger_id: str, version: LedgerVersion, current: Current, leaders: events.Leaders
    ) -> None:
        self.ledger_id, self.version, self.current = ledger_id, version, current
        self._leaders = leaders
        self._archived: list[BoardState] = []

    def reload(self, connection: Connection, boards: store.BoardStore) -> None:
        """Read the boards again, after their settings may have changed."""
        before = self.current.boards
        after = boards.reloaded(connection, self.ledger_id, before)
        changed = self.current.changed | store.changed(before, after)
        self.current = self.current._replace(boards=after, changed=changed)
        listed = {board.board_id for board in after.boards}
        self._archived = [
            replace(board, state="archived")
            for board in before.boards
            if board.board_id not in listed
        ]

    def change(
        self,
        connection: Connection,
        scores: dict[str, list[NewScore]] | None = None,
        received: list[float] | None = None,
        touched: Collection[str] = (),
    ) -> LedgerChange:
        """Return what this transaction changes, with these scores by board; store its events.

        `touched` are the boards of which users were hidden or shown.
        """
        current, archived = self.current.boards, self._archived
        changed = self.current.changed | {board.board_id for board in archived} | set(touched)
        boards = [*current.boards, *archived]
        changes = top10.board_changes(connection, boards, scores or {}, changed, changed)
        events.store(connection, self.current, self._leaders, changes)
        version = self.version.version
        return LedgerChange(
            self.ledger_id, version, changes, current.settings_version, received or []
        )


class _AllRefused(Exception):
    """No update of the transaction is accepted: roll it back, including its board version."""

    def __init__(self, outcomes: list[Outcome]) -> None:
        super().__init__(outcomes)
        self.outcomes = outcomes
