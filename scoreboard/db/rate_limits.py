"""Storages of rate limits: moving windows in memory, or in Redis for all processes."""

import functools
import logging
import time
from collections import OrderedDict, defaultdict, deque
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple, cast

import redis
from flask import current_app
from limits import parse_many
from limits.storage import MovingWindowSupport, Storage

from ..concurrency import runtime as transport
from ..concurrency.coalescer import Together
from ..extensions import limiter
from ..http.json import dumps
from ..observability import metrics
from . import redis_client

log = logging.getLogger(__name__)

# Seconds that a request waits for Redis, with the name lookup and connecting, and more per key.
REQUEST_TIMEOUT, KEY_TIMEOUT = 0.2, 0.0002
# Seconds after which a task that asks Redis gives up, and between attempts while it is away.
SOCKET_TIMEOUT, PROBE_INTERVAL = 1, 2
# Keys in one round trip, during which Redis serves nobody else.
MAX_BATCH_SIZE = 1000

# Each list holds the times of what was counted, newest first. They are by Redis's clock: those of
# the processes differ. ARGV[1] holds, of each Asked, its amount and its limits.
SCRIPT = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local rooms, next_key = {}, 1
for _, asked in ipairs(cjson.decode(ARGV[1])) do
    local amount, limits = unpack(asked)
    local room, wait = math.huge, 0
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
        if free < room or free == room and until_free > wait then
            room, wait = free, until_free
        end
    end
    for _, limit in ipairs(limits) do
        for _ = 1, math.min(amount, room) do
            redis.call('LPUSH', KEYS[next_key], now)
        end
        redis.call('EXPIRE', KEYS[next_key], limit[2])
        next_key = next_key + 1
    end
    rooms[#rooms + 1] = {room, math.ceil(wait * 1000)}
end
return rooms
"""


class Limit(NamedTuple):
    """At most `amount` in any `seconds`, counted for each key under this name."""

    name: str
    amount: int
    seconds: int


class Asked(NamedTuple):
    """Count `amount` more for the key in each limit, or as many as all of them have room for."""

    key: str
    amount: int
    limits: Sequence[Limit]


class Room(NamedTuple):
    """How many there was room for, and the seconds until the fullest window has room for more."""

    amount: int
    retry_after: float


def count(setting: str, amounts: Mapping[str, int]) -> Sequence[Room]:
    """Count so many for each key, or as many as the limits have room for.

    `setting` is the name of the setting that holds the limits. What is refused by one of them
    counts in none. Return the room that there was for each; yields to the loop.
    """
    limits = _parse(setting, current_app.config[setting])
    asked = [Asked(key, amount, limits) for key, amount in amounts.items()]
    return cast(MemoryLimits, limiter.storage).acquire(asked)


@functools.cache
def _parse(name: str, limits: str) -> tuple[Limit, ...]:
    items = parse_many(limits)
    return tuple(Limit(f"{item.key_for(name)}/", item.amount, item.get_expiry()) for item in items)


class MemoryLimits(MovingWindowSupport, Storage):
    """Limits in memory. The cost of a hit does not grow with the number of keys.

    The time is monotonic: setting the clock changes nothing.
    """

    STORAGE_SCHEME = ["limits+memory"]  # noqa: RUF012 - the library's name
    base_exceptions = ()

    def __init__(self, uri: str | None = None, wrap_exceptions: bool = False, **_: Any) -> None:
        super().__init__(uri, wrap_exceptions)
        # The times of what was counted, oldest first; the keys least recently asked for first.
        self._windows: dict[Limit, OrderedDict[str, deque[float]]] = defaultdict(OrderedDict)
        self._lock = transport.lock()

    def acquire(self, asked: Sequence[Asked]) -> Sequence[Room]:
        """Count what is asked for, in this order; return the room that there was for each."""
        now = time.monotonic()
        with self._lock:
            return [self._count(each, now) for each in asked]

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Return whether there was room for all. If not, those that fit are counted."""
        (room,) = self.acquire([Asked(key, amount, [Limit("", limit, expiry)])])
        return room.amount >= amount

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """Return when the oldest one in the window was counted, and how many there are."""
        (room,) = self.acquire([Asked(key, 0, [Limit("", limit, expiry)])])
        return time.time() + room.retry_after - expiry, limit - room.amount

    def _unsupported(self, *args: Any, **options: Any) -> Any:
        raise NotImplementedError("only moving windows are supported")

    # What other strategies than the moving window need.
    incr = get = get_expiry = check = reset = clear = _unsupported

    def _count(self, asked: Asked, now: float) -> Room:
        windows = [self._window(limit, asked.key, now) for limit in asked.limits]
        room, wait = min(
            (limit.amount - len(window), (now - window[0] if window else 0) - limit.seconds)
            for limit, window in zip(asked.limits, windows, strict=True)
        )
        for window in windows:
            window.extend([now] * min(asked.amount, room))
        return Room(room, -wait)

    def _window(self, limit: Limit, key: str, now: float) -> deque[float]:
        windows, over = self._windows[limit], now - limit.seconds
        if key in windows:
            windows.move_to_end(key)
        else:
            # More than are added, so that memory shrinks again, and few, so that it is quick.
            for old in list(islice(windows, 2)):
                if not windows[old] or windows[old][-1] <= over:
                    del windows[old]
            windows[key] = deque()
        window = windows[key]
        while window and window[0] <= over:
            window.popleft()
        return window


class RedisLimits(MemoryLimits):
    """Limits in Redis, shared by all processes; in memory while Redis is away.

    Only the first requests of an outage wait, for REQUEST_TIMEOUT.
    """

    STORAGE_SCHEME = ["limits+redis", "limits+rediss"]  # noqa: RUF012 - the library's name

    def __init__(self, uri: str, wrap_exceptions: bool = False, **_: Any) -> None:
        super().__init__(uri, wrap_exceptions)
        client = redis_client.connect(uri.removeprefix("limits+"), SOCKET_TIMEOUT)
        self._script = client.register_script(SCRIPT)
        self._together = Together(self._acquire_together, MAX_BATCH_SIZE)
        self._is_away = False
        self._probe_at = 0.0

    def acquire(self, asked: Sequence[Asked]) -> Sequence[Room]:
        """Count what is asked for, as MemoryLimits does; yields to the loop.

        Concurrent calls share a round trip to Redis.
        """
        if not self._is_away:
            return cast(Sequence[Room], self._together.ask_all(asked))
        if (now := time.monotonic()) >= self._probe_at:
            self._probe_at = now + PROBE_INTERVAL  # before others come to see it
            transport.spawn(self._ask, [], SOCKET_TIMEOUT)
        return super().acquire(asked)

    def is_reachable(self, timeout: float) -> bool:
        """Return whether Redis answers within these seconds, or did at the latest probe."""
        if self._is_away and time.monotonic() < self._probe_at:
            return False
        return self._ask([], timeout) is not None

    def _acquire_together(self, asked: Sequence[Asked]) -> Sequence[Room]:
        timeout = REQUEST_TIMEOUT + len(asked) * KEY_TIMEOUT
        rooms = None if self._is_away else self._ask(asked, timeout)
        return super().acquire(asked) if rooms is None else rooms

    def _ask(self, asked: Sequence[Asked], timeout: float) -> Sequence[Room] | None:
        """Return Redis's answers, or None if it is away; yields to the loop."""
        self._probe_at = time.monotonic() + PROBE_INTERVAL
        try:
            rooms = transport.within(timeout, self._run, asked)
        except Exception as error:
            metrics.REDIS_ERRORS.inc()
            if not self._is_away:
                foreseen, name = (redis.RedisError, TimeoutError), type(error).__name__
                shown = not isinstance(error, foreseen)
                log.warning("limits are counted in memory: Redis says %s", name, exc_info=shown)
            self._is_away = True
            return None
        self._is_away = False
        return rooms

    def _run(self, asked: Sequence[Asked]) -> Sequence[Room]:
        """Run the script. Blocks for the answer, and for as long as the name lookup takes."""
        keys = [f"LIMITS:{limit.name}{each.key}" for each in asked for limit in each.limits]
        amounts = [(each.amount, [limit[1:] for limit in each.limits]) for each in asked]
        rooms = self._script(keys, [dumps(amounts)])
        return [Room(room, milliseconds / 1000) for room, milliseconds in rooms]
