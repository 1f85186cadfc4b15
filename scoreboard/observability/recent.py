"""Keep recent activity in memory: attempts per minute by outcome, and the newest audit lines.

Like the metrics, it is per process and lost at exit. `db/activity.py` shares it through Redis.
"""

import secrets
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime
from itertools import islice
from typing import NamedTuple

from ..concurrency import runtime

MINUTES, MAX_LINES = 24 * 60, 1000

# Numbers of attempts by outcome, by Unix time in whole minutes.
Counts = dict[int, Counter[str]]


class Unshared(NamedTuple):
    """What other processes have yet to see; `last` is the number of the last of the lines."""

    counts: Counts
    lines: list[str]
    last: int


class Recent:
    """The last minutes and lines. Codes are from a fixed set, never from client input.

    `name` identifies this process, also across restarts; `since` is its start time. `now` is its
    clock. Where requests run in threads, methods hold a lock briefly. They never block otherwise.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self.name = secrets.token_hex(4)
        self.since = datetime.fromtimestamp(now(), UTC)
        self.now = now
        self._lock = runtime.lock()
        # The oldest entry is the first inserted, even if the clock is set back.
        self._minutes: Counts = {}
        self._unshared: Counts = {}
        self._lines: deque[str] = deque(maxlen=MAX_LINES)
        self._line_count = self._shared_line_count = 0
        self._when_first: Callable[[], object] | None = None

    def on_first_lines(self, call: Callable[[], object]) -> None:
        """Register `call`, to be called once: when the first lines are kept."""
        self._when_first = call

    def keep(self, lines: Collection[str], codes: Iterable[str] = ()) -> None:
        """Add these lines, and count attempts with these outcomes in the current minute."""
        minute, counts = int(self.now() // 60), Counter(codes)
        with self._lock:
            self._lines.extend(lines)
            self._line_count += len(lines)
            _add(self._minutes, {minute: counts})
            _add(self._unshared, {minute: counts})
            first, self._when_first = self._when_first, None
        if first:
            first()

    def counts(self) -> Counts:
        """Return the counts of the last 24 hours; minutes without attempts may be missing."""
        with self._lock:
            return {minute: counts.copy() for minute, counts in self._minutes.items()}

    def lines(self, after: int = 0) -> list[tuple[int, str]]:
        """Return the numbered lines whose number is greater than `after`, oldest first.

        A number that no line has yet is of another process: then all lines are returned.
        """
        with self._lock:
            return self._lines_after(after if after <= self._line_count else 0)

    def unshared(self) -> Unshared:
        """Return what was kept since the last `shared`: at most 24 hours and 1,000 lines."""
        with self._lock:
            counts = {minute: counts.copy() for minute, counts in self._unshared.items()}
            lines = [line for _, line in self._lines_after(self._shared_line_count)]
            return Unshared(counts, lines, self._line_count)

    def shared(self, sent: Unshared) -> None:
        """Record that this, the result of `unshared`, was sent."""
        with self._lock:
            self._shared_line_count = sent.last
            for minute, counts in sent.counts.items():
                rest = self._unshared.pop(minute, Counter()) - counts
                if rest:
                    self._unshared[minute] = rest

    def _lines_after(self, after: int) -> list[tuple[int, str]]:
        first = self._line_count - len(self._lines) + 1
        start = max(first, after + 1)
        return list(enumerate(islice(self._lines, start - first, None), start))


def _add(to: Counts, counts: Counts) -> None:
    """Add the counts; if there are too many minutes, drop the oldest."""
    for minute, codes in counts.items():
        if minute in to:
            to[minute].update(codes)
        elif codes:
            to[minute] = codes.copy()
            if len(to) > MINUTES:
                del to[next(iter(to))]


def periods(counts: Counts, now: float, hours: int, step: int) -> Counts:
    """Return the counts of each `step` minutes in these last hours, oldest first.

    Keys are the starts in Unix minutes, multiples of `step`; the last period is the current one.
    """
    last = int(now // 60) // step
    sums: Counts = {period: Counter() for period in range(last - hours * 60 // step + 1, last + 1)}
    for minute, codes in counts.items():
        if minute // step in sums:
            sums[minute // step].update(codes)
    return {period * step: codes for period, codes in sums.items()}
