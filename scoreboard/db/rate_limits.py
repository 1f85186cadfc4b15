"""Store rate limits as moving windows: in memory, or in Redis when processes share them."""

import functools
import logging
import time
from collections import OrderedDict, defaultdict, deque
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple, cast

import redis
from flask import Flask, current_app
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from limits import parse_many
from limits.storage import MovingWindowSupport, Storage

from ..concurrency import runtime
from ..concurrency.coalescer import Coalescer
from ..http.json import dumps
from ..observability.metrics import Metrics
from ..services import services
from . import redis_client

log = logging.getLogger(__name__)

# Seconds that a request waits for Redis, name lookup and connecting included, plus a time per key.
REQUEST_TIMEOUT, KEY_TIMEOUT = 0.2, 0.0002
# Timeout of one exchange with Redis, and interval of attempts while it is unavailable, in seconds.
SOCKET_TIMEOUT, PROBE_INTERVAL = 1, 2
# Keys per round trip. Redis serves no other client while the script runs.
MAX_BATCH_SIZE = 1000

# Each list holds the times of the counted hits, newest first. The times are from Redis's clock,
# because the clocks of the processes differ. ARGV[1] holds the amount and limits of each `Hits`.
SCRIPT = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local quotas, next_key = {}, 1
for _, hits in ipairs(cjson.decode(ARGV[1])) do
    local amount, limits = unpack(hits)
    local remaining, wait = math.huge, 0
    for i, limit in ipairs(limits) do
        local max, seconds = unpack(limit)
        local key = KEYS[next_key + i - 1]
        local oldest = tonumber(redis.call('LINDEX', key, -1))
        while oldest and (oldest <= now - seconds or oldest > now) do -- later: clock was set back
            redis.call('RPOP', key)
            oldest = tonumber(redis.call('LINDEX', key, -1))
        end
        local free = max - redis.call('LLEN', key)
        local until_free = seconds - (now - (oldest or now))
        if free < remaining or free == remaining and until_free > wait then
            remaining, wait = free, until_free
        end
    end
    for _, limit in ipairs(limits) do
        for _ = 1, math.min(amount, remaining) do
            redis.call('LPUSH', KEYS[next_key], now)
        end
        redis.call('EXPIRE', KEYS[next_key], limit[2])
        next_key = next_key + 1
    end
    quotas[#quotas + 1] = {remaining, math.ceil(wait * 1000)}
end
return quotas
"""


class Limit(NamedTuple):
    """At most `amount` hits in any `seconds`, counted per key under this name."""

    name: str
    amount: int
    seconds: int


class Hits(NamedTuple):
    """Hits of a key to count: `amount`, or as many as all of the limits allow."""

    key: str
    amount: int
    limits: Sequence[Limit]


class Quota(NamedTuple):
    """How many hits the limits allow, and the seconds until the fullest window allows another."""

    amount: int
    retry_after: float


def init_app(app: Flask) -> None:
    """Create the application's Flask-Limiter and the rate limits that it counts in."""
    options: Any = {"metrics": services(app).metrics}
    limiter = Limiter(get_remote_address, app=app, storage_options=options)
    services(app).limiter = limiter
    services(app).rate_limits = cast(MemoryLimits, limiter.storage)


def count(setting: str, amounts: Mapping[str, int]) -> Sequence[Quota]:
    """Count the given number of hits for each key, or as many as the limits of `setting` allow.

    A hit that one limit refuses is counted in none. Returns the quotas before counting. Yields.
    """
    limits = _parse(setting, current_app.config[setting])
    hits = [Hits(key, amount, limits) for key, amount in amounts.items()]
    return services().rate_limits.acquire(hits)


@functools.cache
def _parse(name: str, limits: str) -> tuple[Limit, ...]:
    items = parse_many(limits)
    return tuple(Limit(f"{item.key_for(name)}/", item.amount, item.get_expiry()) for item in items)


class MemoryLimits(MovingWindowSupport, Storage):
    """Rate limits in memory, by monotonic time. The cost of a hit is independent of the keys."""

    STORAGE_SCHEME = ["limits+memory"]  # noqa: RUF012 - the library's name
    base_exceptions = ()

    def __init__(self, uri: str | None = None, wrap_exceptions: bool = False, **_: Any) -> None:
        super().__init__(uri, wrap_exceptions)
        # Times of the counted hits, oldest first, by key, least recently used key first.
        self._windows: dict[Limit, OrderedDict[str, deque[float]]] = defaultdict(OrderedDict)
        self._lock = runtime.lock()

    def acquire(self, hits: Sequence[Hits]) -> Sequence[Quota]:
        """Count these in order. Returns the quota of each before counting."""
        now = time.monotonic()
        with self._lock:
            return [self._count(each, now) for each in hits]

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count hits, or as many as fit. Returns whether all of them fit."""
        (quota,) = self.acquire([Hits(key, amount, [Limit("", limit, expiry)])])
        return quota.amount >= amount

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """Return the time of the oldest hit in the window, and the number of hits in it."""
        (quota,) = self.acquire([Hits(key, 0, [Limit("", limit, expiry)])])
        return time.time() + quota.retry_after - expiry, limit - quota.amount

    def is_reachable(self, timeout: float) -> bool:
        """Whether the store responds within `timeout` seconds: memory always does."""
        return True

    def _unsupported(self, *args: Any, **options: Any) -> Any:
        raise NotImplementedError("only moving windows are supported")

    # Only other strategies than the moving window need these.
    incr = get = get_expiry = check = reset = clear = _unsupported

    def _count(self, hits: Hits, now: float) -> Quota:
        windows = [self._window(limit, hits.key, now) for limit in hits.limits]
        # By the fewest remaining hits, then by the longest wait, which is negative here.
        remaining, negative_wait = min(
            (limit.amount - len(window), (now - window[0] if window else 0) - limit.seconds)
            for limit, window in zip(hits.limits, windows, strict=True)
        )
        for window in windows:
            window.extend([now] * min(hits.amount, remaining))
        return Quota(remaining, -negative_wait)

    def _window(self, limit: Limit, key: str, now: float) -> deque[float]:
        windows, expired = self._windows[limit], now - limit.seconds
        if key in windows:
            windows.move_to_end(key)
        else:
            # Remove up to two expired keys for each new one: memory shrinks again, at a small cost.
            for old in list(islice(windows, 2)):
                if not windows[old] or windows[old][-1] <= expired:
                    del windows[old]
            windows[key] = deque()
        window = windows[key]
        while window and window[0] <= expired:
            window.popleft()
        return window


class RedisLimits(MemoryLimits):
    """Rate limits in Redis, shared by all processes; in memory while Redis is unavailable.

    Only the first requests of an outage wait, for `REQUEST_TIMEOUT` and `KEY_TIMEOUT` per key.
    """

    STORAGE_SCHEME = ["limits+redis", "limits+rediss"]  # noqa: RUF012 - the library's name

    def __init__(self, uri: str, metrics: Metrics, wrap_exceptions: bool = False) -> None:
        self._metrics = metrics
        super().__init__(uri, wrap_exceptions)
        client = redis_client.connect(uri.removeprefix("limits+"), SOCKET_TIMEOUT)
        self._script = client.register_script(SCRIPT)
        self._batches = Coalescer(self._acquire_batch, MAX_BATCH_SIZE)
        self._is_down = False
        self._probe_at = 0.0

    def acquire(self, hits: Sequence[Hits]) -> Sequence[Quota]:
        """Count these as `MemoryLimits` does. Yields to the loop.

        Concurrent calls share a round trip to Redis.
        """
        if not self._is_down:
            return cast(Sequence[Quota], self._batches.run_all(hits))
        if (now := time.monotonic()) >= self._probe_at:
            self._probe_at = now + PROBE_INTERVAL  # set first: one probe at a time
            runtime.spawn(self._request, [], SOCKET_TIMEOUT)
        return super().acquire(hits)

    def is_reachable(self, timeout: float) -> bool:
        """Whether Redis responds within `timeout` seconds. Yields to the loop.

        False at once during an outage, until the next probe is due.
        """
        is_waiting = self._is_down and time.monotonic() < self._probe_at
        return not is_waiting and self._request([], timeout) is not None

    def _acquire_batch(self, hits: Sequence[Hits]) -> Sequence[Quota]:
        timeout = REQUEST_TIMEOUT + len(hits) * KEY_TIMEOUT
        quotas = None if self._is_down else self._request(hits, timeout)
        return super().acquire(hits) if quotas is None else quotas

    def _request(self, hits: Sequence[Hits], timeout: float) -> Sequence[Quota] | None:
        """Return Redis's response, or None if it fails or times out. Yields to the loop."""
        self._probe_at = time.monotonic() + PROBE_INTERVAL
        try:
            quotas = runtime.within(timeout, self._run, hits)
        except Exception as error:
            self._metrics.redis_errors.inc()
            if not self._is_down:
                is_expected = isinstance(error, (redis.RedisError, TimeoutError))
                message = "limits are counted in memory: Redis failed with %s"
                log.warning(message, type(error).__name__, exc_info=not is_expected)
            self._is_down = True
            return None
        self._is_down = False
        return quotas

    def _run(self, hits: Sequence[Hits]) -> Sequence[Quota]:
        """Run the script. Blocks for the name lookup and the response."""
        keys = [f"LIMITS:{limit.name}{each.key}" for each in hits for limit in each.limits]
        amounts = [(each.amount, [limit[1:] for limit in each.limits]) for each in hits]
        quotas = self._script(keys, [dumps(amounts)])
        return [Quota(amount, milliseconds / 1000) for amount, milliseconds in quotas]
