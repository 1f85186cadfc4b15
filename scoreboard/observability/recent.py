"""Keep recent activity in memory: attempts per minute by outcome, and the newest audit lines.

Like the metrics, it is per process and lost at exit.
"""

import secrets
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime
from itertools import islice

from ..concurrency import runtime

MINUTES, MAX_LINES = 60, 1000


class Recent:
    """The last minutes and lines. Codes are from a fixed set, never from client input.

    `name` identifies this process, also across restarts; `since` is its start time. Where requests
    run in threads, methods hold a lock briefly. They never block otherwise.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self.name = secrets.token_hex(4)
        self.since = datetime.fromtimestamp(now(), UTC)
        self._now = now
        self._lock = runtime.lock()
        # The oldest entry is the first inserted, even if the clock is set back.
        self._minutes: dict[int, Counter[str]] = {}
        self._lines: deque[str] = deque(maxlen=MAX_LINES)
        self._line_count = 0

    def keep(self, lines: Collection[str], codes: Iterable[str] = ()) -> None:
        """Add these lines, and count attempts with these outcomes in the current minute."""
        minute = int(self._now() // 60)
        with self._lock:
            self._lines.extend(lines)
            self._line_count += len(lines)
            if minute not in self._minutes:
                self._minutes[minute] = Counter()
                if len(self._minutes) > MINUTES:
                    del self._minutes[next(iter(self._minutes))]
            self._minutes[minute].update(codes)

    def minutes(self) -> list[tuple[datetime, dict[str, int]]]:
        """Return the start and the counts by code of each of the last 60 minutes, oldest first."""
        last = int(self._now() // 60)
        with self._lock:
            counts = {
                m: dict(self._minutes.get(m, {})) for m in range(last - MINUTES + 1, last + 1)
            }
        return [(datetime.fromtimestamp(m * 60, UTC), codes) for m, codes in counts.items()]

    def lines(self, after: int = 0) -> list[tuple[int, str]]:
        """Return the numbered lines whose number is greater than `after`, oldest first."""
        with self._lock:
            first = self._line_count - len(self._lines) + 1
            start = max(first, after + 1)
            return list(enumerate(islice(self._lines, start - first, None), start))
