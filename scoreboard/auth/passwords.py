"""Password hashes, made and checked off the loop, a few at a time.

Requests hold a slot of `queue` around `hash_password` and `matches`.
"""

import contextlib
import functools
import os
import sys
import unicodedata
from collections.abc import Callable
from typing import TypeVar

from werkzeug.security import check_password_hash, generate_password_hash

from ..concurrency.fair_queue import FairQueue
from ..concurrency.runtime import off_loop, threads

T = TypeVar("T")

# scrypt takes tens of milliseconds of a core and 32 MiB a hash: one core is left to the loop, and
# more than two at a time would only crowd out everybody else's memory.
SLOTS = max(1, min(2, (os.cpu_count() or 1) - 1))
# At 50 to 100 ms each the last of 100 waits for 5 to 10 s. A class of 40 behind one address fits.
MAX_WAITING, MAX_WAITING_PER_ADDRESS = 100, 50
RETRY_AFTER = 5  # seconds
# Where there are not cores enough for all, everybody else gets some ten times as much of one:
# https://man7.org/linux/man-pages/man7/sched.7.html
NICE = 10

queue = FairQueue(SLOTS, MAX_WAITING, MAX_WAITING_PER_ADDRESS, RETRY_AFTER)


def composed(password: str) -> str:
    """Return the password in the form that is hashed, whichever system it was typed on."""
    return unicodedata.normalize("NFC", password)


def hash_password(password: str) -> str:
    """Return a salted scrypt hash of the password. Blocks for tens of milliseconds."""
    return off_loop(_nicely, generate_password_hash, composed(password))


def matches(password: str, password_hash: str | None) -> bool:
    """Return whether the password has this hash. False, and no faster, if there is none.

    Blocks for tens of milliseconds, twice as long for a password that is not in composed form.
    """
    right = off_loop(_nicely, _check, password_hash, password)
    return right and password_hash is not None


def _check(password_hash: str | None, password: str) -> bool:
    known = password_hash or _nobodys_hash()
    if check_password_hash(known, composed(password)):
        return True
    # Older hashes are of the password as it was typed.
    return composed(password) != password and check_password_hash(known, password)


@functools.cache
def _nobodys_hash() -> str:
    """Return what is checked when there is no hash, for an unknown name to take as long."""
    return generate_password_hash("nobody signs in with this")


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
