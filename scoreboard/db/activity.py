"""Share the recent activity of all processes through Redis, for the admins.

Each process adds its new counts and audit lines once a second, in one transaction, and reads the
sums when an admin asks. In Redis are:

- `ACTIVITY:counts:<hour>`: a hash with the number of attempts of each `<minute> <code>`;
- `ACTIVITY:lines`: a list of the newest audit lines, and `ACTIVITY:seq`: the number of the last;
- `ACTIVITY:processes:<window>`: a hash of the processes that were alive in these five seconds.

All keys expire.
"""

import atexit
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

import redis
from flask import Flask
from redis.client import Pipeline

from ..concurrency import runtime
from ..http.json import dumps, loads
from ..observability.recent import MAX_LINES, Counts
from ..services import services
from . import redis_client

T = TypeVar("T")
log = logging.getLogger(__name__)

NOT_USED, OK, FAILING = "not used", "ok", "failing"

# In seconds. A process that has not shared for one to two windows is taken as ended.
INTERVAL, WINDOW = 1, 5
# Timeouts of one exchange with Redis, of what an admin's request reads, and of the last sharing.
SOCKET_TIMEOUT, READ_TIMEOUT, STOP_TIMEOUT = 1, 0.5, 1
# The hour of the oldest minute shown began up to 25 hours ago.
COUNTS_EXPIRY, LINES_EXPIRY, PROCESSES_EXPIRY = 26 * 3600, 7 * 24 * 3600, 4 * WINDOW

LINES, SEQ = "ACTIVITY:lines", "ACTIVITY:seq"


class Overview(NamedTuple):
    """Counts, and the live processes as `Activity.process` describes them.

    `redis` is `ok` if they are of all processes; else they are of this one.
    """

    redis: str
    counts: Counts
    processes: list[dict[str, Any]]


class Tail(NamedTuple):
    """The newest audit lines with their numbers, oldest first; `redis` is as in `Overview`."""

    redis: str
    lines: list[tuple[int, str | bytes]]


def init_app(app: Flask) -> None:
    """Share the activity of this application if it has a Redis."""
    url = app.config["REDIS_URL"]
    services(app).activity = SharedActivity(app, url) if url else Activity(app)


class Activity:
    """The activity of this process alone."""

    redis = NOT_USED

    def __init__(self, app: Flask) -> None:
        self._app = app

    def start(self) -> None:
        """Start to share, unless that has started."""

    def stop(self) -> None:
        """Share a last time. Blocks for at most STOP_TIMEOUT."""

    def process(self) -> dict[str, Any]:
        """Describe this process: `name`, `dyno`, `since` and `connections` by kind."""
        parts = services(self._app)
        return {
            "name": parts.recent.name,
            "dyno": self._app.config["DYNO"],
            "since": parts.recent.since,
            "connections": parts.metrics.open_connections(),
        }

    def overview(self, hours: int) -> Overview:
        """Return the counts of at least these last hours, and the processes."""
        return Overview(self.redis, services(self._app).recent.counts(), [self.process()])

    def tail(self, after: int, process: str | None) -> Tail:
        """Return the lines numbered higher than `after`, at most 1,000.

        A process numbers its lines from 1, so `after` is ignored if `process` is another one's name
        or if no line has this number.
        """
        recent = services(self._app).recent
        is_own = process in (None, recent.name)
        return Tail(self.redis, [*recent.lines(after if is_own else 0)])


class SharedActivity(Activity):
    """The activity of all processes that share a Redis; of this one while Redis does not answer.

    Nothing here delays or fails a request for a score: a task sends, and only admins read.
    """

    redis = FAILING

    def __init__(self, app: Flask, url: str) -> None:
        super().__init__(app)
        self._client = redis_client.connect(url, SOCKET_TIMEOUT)
        self._has_started = self._is_down = False
        self._stopping, self._stopped = threading.Event(), threading.Event()
        # A process may serve no live connection, and then has no maintenance.
        services(app).recent.on_first_lines(self.start)

    def start(self) -> None:
        """Share every INTERVAL from now on. Returns at once."""
        if self._has_started:
            return
        self._has_started = True
        runtime.spawn(self._share_until_stopped)
        if not runtime.ON_EVENTLET:  # else `server/shutdown.py` calls it
            atexit.register(self.stop)

    def stop(self) -> None:
        """Share a last time. Blocks for at most STOP_TIMEOUT."""
        self._stopping.set()
        if self._has_started:
            self._stopped.wait(STOP_TIMEOUT)

    def share(self) -> None:
        """Send what is new to Redis. Blocks for two exchanges with it. Never raises.

        What fails is sent later. If only the response was lost, its counts and lines appear twice.
        """
        outcome = runtime.outcome_of(self._send)
        if isinstance(outcome, Exception):
            self._failed(outcome)
        else:
            self._is_down = False

    def overview(self, hours: int) -> Overview:
        """Return the counts of at least these last hours, and the processes. Waits for Redis."""
        now = services(self._app).recent.now()
        last_hour, window = int(now // 3600), int(now // WINDOW)
        hour_numbers = range(last_hour - hours, last_hour + 1)

        def read() -> Overview:
            pipeline = self._client.pipeline(transaction=False)
            for hour in hour_numbers:
                pipeline.hgetall(_counts_key(hour))
            for number in (window - 1, window):
                pipeline.hgetall(_processes_key(number))
            *hashes, before, current = pipeline.execute()
            counts = _counts(dict(zip(hour_numbers, hashes, strict=True)))
            own = self.process()
            processes = {name.decode(): loads(text) for name, text in {**before, **current}.items()}
            for each in processes.values():
                each["since"] = datetime.fromisoformat(each["since"])
            shown = {**processes, own["name"]: own}.values()
            return Overview(OK, counts, sorted(shown, key=lambda each: each["since"]))

        return self._read(read) or super().overview(hours)

    def tail(self, after: int, process: str | None) -> Tail:
        """Return the lines numbered higher than `after`, at most 1,000. Waits for Redis.

        All processes share these numbers, which also increase when Redis has lost its data. While
        Redis does not answer, the numbers are those of the process.
        """

        def read() -> Tail:
            pipeline = self._client.pipeline()  # a transaction: the number is of the last line
            pipeline.get(SEQ)
            pipeline.lrange(LINES, 0, -1)
            last, lines = pipeline.execute()
            first = int(last or 0) - len(lines) + 1
            # A higher number was given before Redis lost its data and the clock was set back.
            start = after if after <= int(last or 0) else 0
            return Tail(OK, [each for each in enumerate(lines, first) if each[0] > start])

        return self._read(read) or super().tail(after, process)

    def _read(self, read: Callable[[], T]) -> T | None:
        """Return the result, or None if Redis fails or is too slow."""
        if self._is_down:
            return None
        outcome = runtime.outcome_of(runtime.within, READ_TIMEOUT, read)
        if isinstance(outcome, Exception):
            self._failed(outcome)
            return None
        return outcome

    def _failed(self, error: Exception) -> None:
        services(self._app).metrics.redis_errors.inc()
        if not self._is_down:
            is_expected = isinstance(error, (redis.RedisError, TimeoutError))
            message = "activity is not shared: Redis failed with %s"
            log.warning(message, type(error).__name__, exc_info=not is_expected)
        self._is_down = True
        self.start()  # the task finds out when Redis answers again

    def _share_until_stopped(self) -> None:
        while not self._stopping.wait(INTERVAL):
            self.share()
        self.share()
        self._stopped.set()

    def _send(self) -> None:
        # First a command without effect: a Redis that hangs may later run what it was sent, and
        # what failed is sent again.
        self._client.ping()
        recent = services(self._app).recent
        unshared = recent.unshared()
        pipeline = self._client.pipeline()
        for minute, codes in unshared.counts.items():
            key = _counts_key(minute // 60)
            for code, count in codes.items():
                pipeline.hincrby(key, f"{minute % 60} {code}", count)
            pipeline.expire(key, COUNTS_EXPIRY)
        if unshared.lines:
            # From the time in microseconds on: higher than before, should Redis lose its data.
            pipeline.set(SEQ, int(time.time() * 1_000_000), nx=True)
            pipeline.incrby(SEQ, len(unshared.lines))
            pipeline.rpush(LINES, *unshared.lines)
            pipeline.ltrim(LINES, -MAX_LINES, -1)
            pipeline.expire(SEQ, LINES_EXPIRY)
            pipeline.expire(LINES, LINES_EXPIRY)
        self._announce(pipeline, int(recent.now() // WINDOW))
        pipeline.execute()
        recent.shared(unshared)

    def _announce(self, pipeline: Pipeline, window: int) -> None:
        """Add this process to the live ones; if it is stopping, remove it."""
        key, own = _processes_key(window), self.process()
        if self._stopping.is_set():
            pipeline.hdel(key, own["name"])
            pipeline.hdel(_processes_key(window - 1), own["name"])
            return
        pipeline.hset(key, own["name"], dumps(own).decode())
        pipeline.expire(key, PROCESSES_EXPIRY)


def _counts_key(hour: int) -> str:
    return f"ACTIVITY:counts:{hour}"


def _processes_key(window: int) -> str:
    return f"ACTIVITY:processes:{window}"


def _counts(hashes: dict[int, dict[bytes, bytes]]) -> Counts:
    """Return the counts in the hashes of these hours."""
    counts: Counts = {}
    for hour, fields in hashes.items():
        for field, count in fields.items():
            minute, code = field.decode().split(" ")
            counts.setdefault(hour * 60 + int(minute), Counter())[code] += int(count)
    return counts
