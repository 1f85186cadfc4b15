"""One task that talks to Redis, so that nobody else waits for connecting or resolving its name.

The timeouts of a socket do not cover the name server. So requests hand their questions to the task
and wait for a bounded time. Questions that come while it waits for Redis are asked together.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from . import metrics, redis_tls
from .limit_windows import Asked, Granted, RedisWindows
from .realtime import transport

log = logging.getLogger(__name__)

# Seconds after which the task gives up connecting, and asking. Requests wait for less.
SOCKET_TIMEOUT = 1
# Seconds between two attempts to reach a Redis that is away.
AWAY_SECONDS = 2


class RedisAway(Exception):
    """Redis cannot be reached, or does not answer in time."""


class _Question:
    """What a request wants to know: `asked` for windows, else the result of `ask`."""

    __slots__ = ("answer", "ask", "asked", "is_abandoned", "is_answered", "woken")

    def __init__(
        self, ask: Callable[[RedisWindows], Any], asked: Sequence[Asked] | None = None
    ) -> None:
        self.ask, self.asked = ask, asked
        self.answer: Any = None
        self.is_answered = self.is_abandoned = False
        # Taken twice, a lock waits for its release: the cheapest way to wait.
        self.woken = threading.Lock()
        self.woken.acquire()


class RedisWorker:
    """Asks Redis in a task of its own, which lives as long as there are questions.

    While Redis is away nothing is asked but whether it is back, at most every AWAY_SECONDS, for the
    next request.
    """

    def __init__(self, url: str) -> None:
        self._storage = RedisWindows(
            url,
            socket_connect_timeout=SOCKET_TIMEOUT,
            socket_timeout=SOCKET_TIMEOUT,
            retry=Retry(NoBackoff(), 0),  # type: ignore[arg-type]
            **redis_tls.options(url),
        )
        self._questions: list[_Question] = []
        self._lock = transport.lock()
        self._is_working = False
        self._is_away = False
        self._retry_at = 0.0

    def acquire(self, asked: Sequence[Asked], timeout: float) -> list[Granted]:
        """Return what RedisWindows.acquire does. Raises RedisAway after `timeout` seconds."""
        granted: list[Granted] = self._wait_for(_Question(_ping, asked), timeout)
        return granted

    def ask(self, ask: Callable[[RedisWindows], Any], timeout: float) -> Any:
        """Return `ask(storage)`. Raises RedisAway after `timeout` seconds, or if it fails."""
        return self._wait_for(_Question(ask), timeout)

    def ping(self, timeout: float) -> None:
        """Return once Redis answers. Raises RedisAway after `timeout` seconds, or if it fails."""
        self._wait_for(_Question(_ping), timeout, is_probe=True)

    def _wait_for(self, question: _Question, timeout: float, is_probe: bool = False) -> Any:
        """Return the answer; yields to the loop. Raises RedisAway, at once while it is away."""
        if self._is_away:
            if time.monotonic() < self._retry_at:
                raise RedisAway
            self._retry_at = time.monotonic() + AWAY_SECONDS
            if not is_probe:
                self._put(_Question(_ping))  # nobody waits for it
                raise RedisAway
        self._put(question)
        if not question.woken.acquire(timeout=timeout):
            # After a stall of the loop the timeout is noticed before the answer that has arrived.
            transport.give_way()
            if not question.is_answered:
                question.is_abandoned = True
                self._go_away("does not answer in time")
        if not question.is_answered:
            raise RedisAway
        return question.answer

    def _put(self, question: _Question) -> None:
        with self._lock:
            self._questions.append(question)
            begins, self._is_working = not self._is_working, True
        if begins:
            transport.spawn(self._work)

    def _work(self) -> None:
        while True:
            with self._lock:
                questions, self._questions = self._questions, []
                self._is_working = bool(questions)
            if not questions:
                return
            try:
                self._answer([each for each in questions if not each.is_abandoned])
            except redis.RedisError as error:
                metrics.REDIS_ERRORS.inc()
                self._go_away(f"says {type(error).__name__}")
            except Exception:
                log.exception("asking Redis failed")
                self._go_away("cannot be asked")
            finally:
                for question in questions:
                    question.woken.release()

    def _answer(self, questions: list[_Question]) -> None:
        """Ask Redis: for all windows in one round trip, for the rest one after the other."""
        together = [each for each in questions if each.asked is not None]
        if together:
            granted = iter(
                self._storage.acquire([asked for each in together for asked in each.asked or ()])
            )
            for question in together:
                question.answer = [next(granted) for _ in question.asked or ()]
                question.is_answered = True
        for question in questions:
            if question.asked is None:
                question.answer = question.ask(self._storage)
                question.is_answered = True
        if questions:
            self._is_away = False

    def _go_away(self, why: str) -> None:
        self._retry_at = time.monotonic() + AWAY_SECONDS
        if not self._is_away:
            self._is_away = True
            log.warning("limits are counted in memory: Redis %s", why)


def _ping(storage: RedisWindows) -> None:
    storage.storage.ping()
