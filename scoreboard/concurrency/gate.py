"""A bounded queue in front of a resource that few callers can use at a time."""

import contextlib
import threading
from collections.abc import Iterator

from ..errors import Overloaded


class Gate:
    """Admits `slots` callers at a time, in order of arrival.

    At most `max_waiting` callers wait, each for up to `timeout` seconds. When a caller inside fails
    with one of the `shared` exceptions, every caller that is waiting at that moment fails with the
    same exception instead of trying one after the other.
    """

    def __init__(
        self,
        slots: int,
        max_waiting: int,
        timeout: float,
        shared: tuple[type[Exception], ...] = (),
    ) -> None:
        self._slots = threading.Semaphore(slots)
        self._max_waiting = max_waiting
        self._timeout = timeout
        self._shared = shared
        self._waiting = 0
        self._failures = 0
        self._last_failure: Exception | None = None

    @contextlib.contextmanager
    def slot(self) -> Iterator[None]:
        """Hold a slot for the context; blocks until one is free.

        Raises Overloaded if the queue is full or the wait exceeds the timeout, or the shared
        exception of the caller that failed during the wait.
        """
        if not self._slots.acquire(blocking=False):
            self._wait()
        try:
            yield
        except self._shared as error:
            self._failures += 1
            self._last_failure = error
            raise
        finally:
            self._slots.release()

    def _wait(self) -> None:
        if self._waiting >= self._max_waiting:
            raise Overloaded
        failures = self._failures
        self._waiting += 1
        try:
            acquired = self._slots.acquire(timeout=self._timeout)
        finally:
            self._waiting -= 1
        if not acquired:
            raise Overloaded
        if self._failures != failures and self._last_failure:
            self._slots.release()
            # Without the traceback, to which every caller would add.
            raise self._last_failure.with_traceback(None)
