"""What this process saw of late: how many attempts ended how in each minute, and the audit's lines.

Every process has its own, as with the metrics, and forgets it when it ends. Bounded in both: the
last 60 minutes, the last 1,000 lines.
"""

import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime
from itertools import islice

MINUTES = 60
MOST_LINES = 1000


class Recent:
    """The last minutes and lines. Codes are ours, never from what a client sent.

    `name` tells this process from others and from the one before it, `since` is when it started.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self.name = secrets.token_hex(4)
        self.since = datetime.fromtimestamp(now(), UTC)
        self._now = now
        self._lock = threading.Lock()
        # Each minute has the place of the one an hour before it: whatever the clock does, no more.
        self._minutes: list[tuple[int, dict[str, int]]] = [(-1, {})] * MINUTES
        self._lines: deque[str] = deque(maxlen=MOST_LINES)
        self._kept = 0

    def keep(self, lines: Collection[str], codes: Iterable[str] = ()) -> None:
        """Keep these lines, and count the attempts that ended with these codes in this minute."""
        minute = int(self._now() // 60)
        with self._lock:
            self._lines.extend(lines)
            self._kept += len(lines)
            counts = self._counts(minute)
            for code in codes:
                counts[code] = counts.get(code, 0) + 1

    def minutes(self) -> list[tuple[datetime, dict[str, int]]]:
        """Return when each of the last 60 minutes began, with its codes; the last is under way."""
        last = int(self._now() // 60)
        with self._lock:
            found = {minute: dict(counts) for minute, counts in self._minutes}
        return [
            (datetime.fromtimestamp(minute * 60, UTC), found.get(minute, {}))
            for minute in range(last - MINUTES + 1, last + 1)
        ]

    def lines(self, after: int = 0) -> list[tuple[int, str]]:
        """Return the lines kept after the one of this number, with their numbers, newest last."""
        with self._lock:
            first = self._kept - len(self._lines) + 1
            start = max(first, after + 1)
            return list(enumerate(islice(self._lines, start - first, None), start))

    def _counts(self, minute: int) -> dict[str, int]:
        place = minute % MINUTES
        if self._minutes[place][0] != minute:
            self._minutes[place] = (minute, {})
        return self._minutes[place][1]


seen = Recent()
