"""The feed: what was committed, by whichever process, in the one order of the commits.

Every transaction that may change the board makes the board's next version. Its batch, with the
updates and the top 10 after them, is offered to the feed of its own process at once and reaches
the others by message queue, where batches may be lost or overtake each other. A feed hands on each
version exactly once, in order; what does not come by message it reads from the database, which is
the truth. So without the queue a viewer is behind by a second, and never wrong.
"""

import logging
import threading
import time
from collections.abc import Callable

from ..leaderboard.batch import Batch

log = logging.getLogger(__name__)

# A board read so recently is told to those who come without reading it again: after a restart
# thousands come at once.
FRESH_SECONDS = 0.1


class Feed:
    """The feed of one process."""

    def __init__(
        self, read: Callable[[int | None], Batch | None], deliver: Callable[[Batch], object]
    ) -> None:
        """Make a feed that hands batches to `deliver`.

        `read(version)` returns all that came after that version as one batch, or None if nothing
        did; `read(None)` returns the present board without updates.
        """
        self._read = read
        self._deliver = deliver
        self._lock = threading.RLock()
        self._version: int | None = None
        self._read_at = float("-inf")
        self._seen = 0
        self._early: dict[int, Batch] = {}

    def offer(self, batch: Batch) -> None:
        """Take a batch: hand it on if it is the next, keep it if it is early, drop it if late."""
        with self._lock:
            if self._version is None:
                return  # nobody has been let in yet; the first will read the board
            if batch.version > self._version:
                self._early[batch.version] = batch
                self._hand_on()

    def catch_up_if_behind(self, version: int) -> None:
        """Catch up with what was committed by the time of the last call and is missing yet.

        `version` is the present one. What was committed just now may be on its way, and comes with
        every board in between.
        """
        with self._lock:
            # No version is followed by a lower one, but in a database restored from a backup.
            restored = version < self._seen
            if self._version is not None and (restored or self._version < self._seen):
                self.catch_up()
            self._seen = version

    def catch_up(self) -> None:
        """Read and hand on what has not come by message."""
        with self._lock:
            started = time.monotonic()
            batch = self._read(self._version)
            self._read_at = started
            if batch:
                self._version = batch.version
                for version in [v for v in self._early if v <= batch.version]:
                    batch.received.extend(self._early.pop(version).received)
                self._deliver(batch)
                self._hand_on()

    def admit(self, welcome: Callable[[], object]) -> None:
        """Call `welcome` with all handed on that this process has committed, nothing in between.

        What others have committed is at most FRESH_SECONDS behind. Whoever is let in gets this
        board first and every later one after it.
        """
        with self._lock:
            if self._early or self._read_at + FRESH_SECONDS < time.monotonic():
                self.catch_up()
            welcome()

    def _hand_on(self) -> None:
        while self._version is not None and self._version + 1 in self._early:
            self._version += 1
            self._deliver(self._early.pop(self._version))
