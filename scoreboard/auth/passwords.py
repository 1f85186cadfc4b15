"""Password hashes, made and checked off the loop."""

import contextlib
import functools
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

from werkzeug.security import check_password_hash, generate_password_hash

from ..errors import RateLimited
from ..realtime.transport import off_loop, threads

T = TypeVar("T")

# scrypt takes tens of milliseconds of a core and 32 MiB a hash: one core is left to the loop, and
# more than two at a time would only crowd out everybody else's memory.
_slots = threading.Semaphore(max(1, min(2, (os.cpu_count() or 1) - 1)))
# Who comes when so many wait already, which takes seconds, is told to come back.
MOST_WAITING = 50
RETRY_SECONDS = 5
# Where there are not cores enough for all, everybody else gets some ten times as much of one:
# https://man7.org/linux/man-pages/man7/sched.7.html
NICE = 10

_waiting: set[object] = set()


def hash_password(password: str) -> str:
    """Return a salted scrypt hash of the password."""
    with _slots:
        return off_loop(_nicely, generate_password_hash, password)


def matches(password: str, password_hash: str | None) -> bool:
    """Whether the password has this hash. False, and no faster, if there is none."""
    with _slots:
        right = off_loop(_nicely, _check, password_hash, password)
    return right and password_hash is not None


def _check(password_hash: str | None, password: str) -> bool:
    return check_password_hash(password_hash or _nobodys_hash(), password)


@functools.cache
def _nobodys_hash() -> str:
    """Return what is checked when there is no hash, for an unknown name to take as long."""
    return generate_password_hash("nobody signs in with this")


def too_many_wait() -> bool:
    """Whether whoever comes now is told to come back."""
    return len(_waiting) >= MOST_WAITING


@contextlib.contextmanager
def waiting() -> Iterator[None]:
    """Be one of those who wait, from before anything is looked up. Raises RateLimited."""
    if too_many_wait():
        raise RateLimited(RETRY_SECONDS)
    me = object()
    _waiting.add(me)
    try:
        yield
    finally:
        _waiting.discard(me)


def _nicely(work: Callable[..., T], *args: object) -> T:
    """Return `work(*args)`, run in a thread of its own: one that was nice once stays so."""
    outcome: list[T] = []
    failed_outcome: list[Exception] = []

    def run() -> None:
        if sys.platform == "linux":  # elsewhere it would be the process that is nice
            with contextlib.suppress(OSError):  # a sandbox may forbid it, which must stop nobody
                os.setpriority(os.PRIO_PROCESS, threads.get_native_id(), NICE)
        try:
            outcome.append(work(*args))
        except Exception as error:
            failed_outcome.append(error)

    thread = threads.Thread(target=run, daemon=True)
    thread.start()
    thread.join()
    if failed_outcome:
        raise failed_outcome[0]
    return outcome[0]
