"""The feed of a ledger: delivers the updates of all processes, in the order of the commits.

Every transaction of a ledger creates its next version. The change of that version, the updates and
the resulting top 10 of each board, goes to the feed of its own process at once and to those of
other processes through a message queue, which may lose or reorder changes. A feed delivers each
version exactly once, in order, and reads missing versions from the database, the source of truth.
Without the queue, subscribers are a second late.
"""

import threading
import time
from collections.abc import Callable

from ..leaderboard.top10 import LedgerChange

# In seconds. New subscribers get a board read this recently without another read: after a restart
# thousands connect at once.
MAX_BOARD_AGE = 0.1


class Feed:
    """The feed of one process. Holds a lock while it reads the database and delivers."""

    def __init__(
        self,
        read: Callable[[LedgerChange | None], LedgerChange | None],
        deliver: Callable[[LedgerChange], object],
    ) -> None:
        """Create a feed that calls `deliver` with each change.

        `read(current)` returns everything after that change as one change, or None if there is
        nothing; `read(None)` returns the current boards without updates.
        """
        self._read = read
        self._deliver = deliver
        self._lock = threading.RLock()
        self._current: LedgerChange | None = None  # the last one delivered
        self._read_at = float("-inf")
        self._expected = 0
        self._early: dict[int, LedgerChange] = {}

    def offer(self, change: LedgerChange) -> None:
        """Deliver the change if it is the next, keep it if it is early, drop it if it is late."""
        with self._lock:
            if self._current is None:
                return  # no subscriber yet: the first one reads the boards
            if change.version > self._current.version:
                self._early[change.version] = change
                self._deliver_next()

    def catch_up_if_behind(self, version: int) -> None:
        """Catch up if a version that was current at the previous call is still missing.

        `version` is the current one. A newer gap can wait: its messages may still arrive, and they
        contain every top 10, while the database has only the last one. Blocks on the database.
        """
        with self._lock:
            # Versions go down only when the database is restored from a backup.
            is_restored = version < self._expected
            if self._current and (is_restored or self._current.version < self._expected):
                self.catch_up()
            self._expected = version

    def subscribe(self, add: Callable[[], object]) -> None:
        """Call `add` after all commits of this process are delivered, and before any later one.

        Commits of other processes may be missing for up to MAX_BOARD_AGE. A subscriber that `add`
        sends this board gets every later version after it. May block on the database.
        """
        with self._lock:
            if self._early or self._read_at + MAX_BOARD_AGE < time.monotonic():
                self.catch_up()
            add()

    def catch_up(self) -> None:
        """Read the missing versions from the database and deliver them. Blocks."""
        started = time.monotonic()
        change = self._read(self._current)
        self._read_at = started
        if change:
            self._current = change
            for version in [v for v in self._early if v <= change.version]:
                change.received.extend(self._early.pop(version).received)
            self._deliver(change)
            self._deliver_next()

    def _deliver_next(self) -> None:
        while self._current and self._current.version + 1 in self._early:
            self._current = self._early.pop(self._current.version + 1)
            self._deliver(self._current)
