"""Where limits are counted: in Redis for all processes, else, and while it is away, in memory."""

import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import redis
from limits.storage import MemoryStorage, Storage

from .limit_windows import Asked, Granted, MovingWindows
from .redis_worker import RedisAway, RedisWorker

# Seconds that a request may lose to a Redis that hangs: resolving its name, connecting, asking.
REQUEST_TIMEOUT = 0.2
# Seconds more for each user of a batch.
WINDOW_TIMEOUT = 0.0002
# Up to here windows that are over are not worth looking for.
FEW_WINDOWS = 10_000


class WindowStorage(MovingWindows, MemoryStorage):
    """Memory of this process, where a hit costs the same however many keys there are.

    The library's own looks at every entry of every key up to a hundred times a second. A clock
    that is set back or forward moves no window.
    """

    STORAGE_SCHEME = ["window+memory"]  # noqa: RUF012 - named by the library

    def __init__(self, uri: str | None = None, wrap_exceptions: bool = False, **_: str) -> None:
        super().__init__(uri, wrap_exceptions)
        # Of each key its expiry in seconds and the moments of its entries, the oldest first.
        self._windows: dict[str, tuple[int, deque[float]]] = {}
        self._most_windows = FEW_WINDOWS
        self._lock = threading.Lock()

    def acquire(self, asked: Sequence[Asked]) -> list[Granted]:
        """Count what is asked for, in this order; return how much of each was granted."""
        now = time.monotonic()
        with self._lock:
            if len(self._windows) >= self._most_windows:
                self._forget_the_past(now)
            return [self._grant(each, now) for each in asked]

    def _grant(self, asked: Asked, now: float) -> Granted:
        counted = [self._window(each.key, each.expiry, now) for each in asked.windows]
        pairs = list(zip(asked.windows, counted, strict=True))
        room = min(window.limit - len(moments) for window, moments in pairs)
        amount = min(asked.amount, room) if room >= asked.least else 0
        for moments in counted:
            moments.extend([now] * amount)
        if amount == asked.amount:
            return Granted(amount, 0)
        full = [each for each in pairs if len(each[1]) >= each[0].limit > 0]
        waits = [moments[-window.limit] + window.expiry - now for window, moments in full]
        return Granted(amount, max(waits, default=0))

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """Return when the present window began, and how many are in it."""
        now = time.monotonic()
        with self._lock:
            moments = self._window(key, expiry, now)
            return time.time() - (now - moments[0] if moments else 0), len(moments)

    def reset(self) -> int | None:
        """Forget all counts."""
        self._windows.clear()
        return None

    def clear(self, key: str) -> None:
        """Forget the counts of a key."""
        self._windows.pop(key, None)

    def _window(self, key: str, expiry: int, now: float) -> deque[float]:
        _, moments = self._windows.setdefault(key, (expiry, deque()))
        while moments and moments[0] <= now - expiry:
            moments.popleft()
        return moments

    def _forget_the_past(self, now: float) -> None:
        """Drop the keys with nothing in their window; again once there are twice as many."""
        self._windows = {
            key: (expiry, moments)
            for key, (expiry, moments) in self._windows.items()
            if moments and moments[-1] > now - expiry
        }
        self._most_windows = max(FEW_WINDOWS, 2 * len(self._windows))


class SteadyStorage(MovingWindows, Storage):
    """Redis, as long as it answers at once; else this process's memory, until it does again.

    No request waits longer than REQUEST_TIMEOUT, whatever Redis or the name server does, and only
    the first ones of an outage wait at all. Limits are then each process's own, which lets through
    at most as many times more as there are processes.
    """

    STORAGE_SCHEME = ["steady+redis", "steady+rediss"]  # noqa: RUF012 - named by the library

    def __init__(self, uri: str, wrap_exceptions: bool = False, **options: Any) -> None:
        super().__init__(uri, wrap_exceptions=wrap_exceptions)
        self._worker = RedisWorker(uri.removeprefix("steady+"))
        self._memory = WindowStorage()

    @property
    def base_exceptions(self) -> type[Exception]:
        """Return what asking Redis may raise."""
        return redis.RedisError

    def is_reachable(self, timeout: float) -> bool:
        """Return whether Redis answers within these seconds; False at once while it is away."""
        try:
            self._worker.ping(timeout)
        except RedisAway:
            return False
        return True

    def acquire(self, asked: Sequence[Asked]) -> list[Granted]:
        """Count what is asked for, in this order; return how much of each was granted.

        Requests at the same time share a round trip to Redis.
        """
        try:
            timeout = REQUEST_TIMEOUT + len(asked) * WINDOW_TIMEOUT
            return self._worker.acquire(asked, timeout)
        except RedisAway:
            return self._memory.acquire(asked)

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """Return when the present window began, and how many are in it."""
        window: tuple[float, int] = self._ask("get_moving_window", key, limit, expiry)
        return window

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Add to a counter."""
        return int(self._ask("incr", key, expiry, amount))

    def get(self, key: str) -> int:
        """Return a counter."""
        return int(self._ask("get", key))

    def get_expiry(self, key: str) -> float:
        """Return when a counter expires."""
        return float(self._ask("get_expiry", key))

    def check(self) -> bool:
        """Whether limits can be counted: always, one way or the other."""
        return True

    def reset(self) -> int | None:
        """Forget all counts."""
        self._ask("reset")
        return None

    def clear(self, key: str) -> None:
        """Forget the counts of a key."""
        self._ask("clear", key)

    def _ask(self, method: str, *args: Any) -> Any:
        try:
            return self._worker.ask(
                lambda storage: getattr(storage, method)(*args), REQUEST_TIMEOUT
            )
        except RedisAway:
            return getattr(self._memory, method)(*args)
