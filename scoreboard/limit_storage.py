"""Where limits are counted: in Redis for all processes, else, and while it is away, in memory."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

import redis
from limits.storage import MemoryStorage, MovingWindowSupport, RedisStorage, Storage
from redis.backoff import NoBackoff
from redis.retry import Retry

from . import metrics, redis_tls

T = TypeVar("T")
log = logging.getLogger(__name__)

# What a request may lose to a Redis that hangs, in seconds: to connect, and then to ask.
CONNECT_SECONDS = ASK_SECONDS = 0.04
# How long to do without before asking again.
AWAY_SECONDS = 2
# Up to here windows that are over are not worth looking for.
FEW_WINDOWS = 10_000


class WindowStorage(MemoryStorage):
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

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count `amount` more under the key, unless that were more than the limit."""
        now = time.monotonic()
        with self._lock:
            moments = self._window(key, expiry, now)
            if len(moments) + amount > limit:
                return False
            moments.extend([now] * amount)
            return True

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
        if len(self._windows) >= self._most_windows:
            self._forget_the_past(now)
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


class RedisWindows(RedisStorage):
    """Redis, by whose clock all processes count.

    The library's own goes by the clock of each process: one that is set back refuses for as long,
    one that is ahead forgets the windows of all.
    """

    STORAGE_SCHEME = ["windows+redis"]  # noqa: RUF012 - named by the library

    _ACQUIRE = """
        local limit, expiry, amount = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
        local time = redis.call('TIME')
        local now = time[1] + time[2] / 1000000
        local newest = redis.call('LINDEX', KEYS[1], 0)
        if newest and tonumber(newest) > now then
            redis.call('DEL', KEYS[1]) -- Redis's own clock was set back: or all would be refused
        end
        if amount > limit then
            return 0
        end
        local oldest = redis.call('LINDEX', KEYS[1], limit - amount)
        if oldest and tonumber(oldest) > now - expiry then
            return 0
        end
        for _ = 1, amount do
            redis.call('LPUSH', KEYS[1], now)
        end
        redis.call('LTRIM', KEYS[1], 0, limit - 1)
        redis.call('EXPIRE', KEYS[1], expiry)
        return 1
    """

    def initialize_storage(self, uri: str) -> None:
        """Register the scripts, which are sent once."""
        super().initialize_storage(uri)
        self._acquire = self.storage.register_script(self._ACQUIRE)

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count `amount` more under the key, unless that were more than the limit."""
        return bool(self._acquire([self.prefixed_key(key)], [limit, expiry, amount]))

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """Return when the present window began, by this process's clock, and how many are in it."""
        seconds, microseconds = self.storage.time()
        now = seconds + microseconds / 1_000_000
        window = self.lua_moving_window([self.prefixed_key(key)], [now - expiry, limit])
        began, count = (float(window[0]), window[1]) if window else (now, 0)
        return time.time() - (now - began), count


class SteadyStorage(Storage, MovingWindowSupport):
    """Redis, as long as it answers at once; else this process's memory, until it does again.

    Whoever finds Redis away loses a moment, those after it none. Limits are then each process's
    own, which lets through at most as many times more as there are processes.
    """

    STORAGE_SCHEME = ["steady+redis", "steady+rediss"]  # noqa: RUF012 - named by the library

    def __init__(self, uri: str, wrap_exceptions: bool = False, **options: Any) -> None:
        super().__init__(uri, wrap_exceptions=wrap_exceptions)
        url = uri.removeprefix("steady+")
        self._redis = RedisWindows(
            url,
            socket_connect_timeout=CONNECT_SECONDS,
            socket_timeout=ASK_SECONDS,
            retry=Retry(NoBackoff(), 0),  # type: ignore[arg-type]
            **redis_tls.options(url),
        )
        self._memory = WindowStorage()
        self._away_until = 0.0

    def _ask(self, ask: Callable[[Any], T]) -> T:
        if time.monotonic() >= self._away_until:
            try:
                return ask(self._redis)
            except redis.RedisError as error:
                self._away_until = time.monotonic() + AWAY_SECONDS
                metrics.REDIS_ERRORS.inc()
                log.warning("limits are counted in memory: Redis says %s", type(error).__name__)
        return ask(self._memory)

    @property
    def base_exceptions(self) -> type[Exception]:
        """Return what asking Redis may raise."""
        return redis.RedisError

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count `amount` more under the key, unless that were more than the limit."""
        return self._ask(lambda storage: storage.acquire_entry(key, limit, expiry, amount))

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """Return when the present window began, and how many are in it."""
        return self._ask(lambda storage: storage.get_moving_window(key, limit, expiry))

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Add to a counter."""
        return self._ask(lambda storage: storage.incr(key, expiry, amount))

    def get(self, key: str) -> int:
        """Return a counter."""
        return self._ask(lambda storage: storage.get(key))

    def get_expiry(self, key: str) -> float:
        """Return when a counter expires."""
        return self._ask(lambda storage: storage.get_expiry(key))

    def check(self) -> bool:
        """Whether limits can be counted: always, one way or the other."""
        return True

    def reset(self) -> int | None:
        """Forget all counts."""
        return self._ask(lambda storage: storage.reset())

    def clear(self, key: str) -> None:
        """Forget the counts of a key."""
        self._ask(lambda storage: storage.clear(key))
