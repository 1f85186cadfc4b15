"""Moving windows: what a storage of limits is asked for, and how Redis answers it."""

import time
from collections.abc import Sequence
from typing import NamedTuple

from limits.storage import MovingWindowSupport, RedisStorage


class Window(NamedTuple):
    """One limit of one user: at most `limit` in any `expiry` seconds, counted under `key`."""

    key: str
    limit: int
    expiry: int


class Asked(NamedTuple):
    """`amount` more that are to be counted in each of these windows, or as many as there is room.

    If there is no room for `least`, none are counted.
    """

    windows: Sequence[Window]
    amount: int
    least: int = 1


class Granted(NamedTuple):
    """How many were counted, and the seconds until one more has room, 0 if all were."""

    amount: int
    retry_after: float


class MovingWindows(MovingWindowSupport):
    """What the library asks for, by `acquire`."""

    def acquire(self, asked: Sequence[Asked]) -> list[Granted]:
        """Count what is asked for, in this order; return how much of each was granted."""
        raise NotImplementedError

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count `amount` more under the key, unless that were more than the limit."""
        (granted,) = self.acquire([Asked([Window(key, limit, expiry)], amount, amount)])
        return granted.amount == amount


class RedisWindows(MovingWindows, RedisStorage):
    """Redis, by whose clock all processes count.

    The library's own goes by the clock of each process: one that is set back refuses for as long,
    one that is ahead forgets the windows of all.
    """

    STORAGE_SCHEME = ["windows+redis"]  # noqa: RUF012 - named by the library

    # Of each that is asked for: amount, least, number of windows; then their limits and expiries.
    # Each list has the moments of what was counted, the newest first.
    _ACQUIRE = """
        local time = redis.call('TIME')
        local now = time[1] + time[2] / 1000000
        local answers = {}
        local key, argument = 1, 1

        local function has_room(window, amount)
            if amount > window.limit then
                return false
            end
            local oldest = tonumber(redis.call('LINDEX', window.key, window.limit - amount))
            if oldest and oldest > now then
                redis.call('DEL', window.key) -- Redis's own clock was set back
                return true
            end
            return not oldest or oldest <= now - window.expiry
        end

        local function room(windows, amount)
            for _, window in ipairs(windows) do
                if not has_room(window, amount) then
                    local fits, too_many = 0, amount
                    while too_many - fits > 1 do
                        local middle = math.floor((fits + too_many) / 2)
                        if has_room(window, middle) then
                            fits = middle
                        else
                            too_many = middle
                        end
                    end
                    amount = fits
                end
            end
            return amount
        end

        local function milliseconds_to_wait(windows)
            local wait = 0
            for _, window in ipairs(windows) do
                local oldest = tonumber(redis.call('LINDEX', window.key, window.limit - 1))
                if oldest then
                    wait = math.max(wait, oldest + window.expiry - now)
                end
            end
            return math.ceil(wait * 1000)
        end

        while argument <= #ARGV do
            local amount, least = tonumber(ARGV[argument]), tonumber(ARGV[argument + 1])
            local count = tonumber(ARGV[argument + 2])
            argument = argument + 3
            local windows = {}
            for number = 1, count do
                local window = {
                    key = KEYS[key],
                    limit = tonumber(ARGV[argument]),
                    expiry = tonumber(ARGV[argument + 1])
                }
                key, argument = key + 1, argument + 2
                windows[number] = window
            end
            local granted = room(windows, amount)
            if granted < least then
                granted = 0
            end
            for _, window in ipairs(windows) do
                local length = 0
                for _ = 1, granted do
                    length = redis.call('LPUSH', window.key, now)
                end
                if length > window.limit then
                    redis.call('LTRIM', window.key, 0, window.limit - 1)
                end
                if granted > 0 then
                    redis.call('EXPIRE', window.key, window.expiry)
                end
            end
            answers[#answers + 1] = granted
            answers[#answers + 1] = granted < amount and milliseconds_to_wait(windows) or 0
        end
        return answers
    """

    def initialize_storage(self, uri: str) -> None:
        """Register the scripts, which are sent once."""
        super().initialize_storage(uri)
        self._acquire = self.storage.register_script(self._ACQUIRE)

    def acquire(self, asked: Sequence[Asked]) -> list[Granted]:
        """Count what is asked for, in this order, in one round trip. Blocks for the answer."""
        keys, arguments = [], []
        for each in asked:
            arguments += [each.amount, each.least, len(each.windows)]
            for window in each.windows:
                keys.append(self.prefixed_key(window.key))
                arguments += [window.limit, window.expiry]
        answers = self._acquire(keys, arguments)
        pairs = zip(answers[::2], answers[1::2], strict=True)
        return [Granted(amount, milliseconds / 1000) for amount, milliseconds in pairs]

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """Return when the present window began, by this process's clock, and how many are in it."""
        seconds, microseconds = self.storage.time()
        now = seconds + microseconds / 1_000_000
        window = self.lua_moving_window([self.prefixed_key(key)], [now - expiry, limit])
        began, count = (float(window[0]), window[1]) if window else (now, 0)
        return time.time() - (now - began), count
