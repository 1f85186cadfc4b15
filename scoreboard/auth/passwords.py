"""Hash and check passwords in low-priority threads, a few at a time.

`auth/service.py` holds a slot of `services().password_queue` while it calls `hash_password` or
`matches`.
"""

import contextlib
import functools
import os
import sys
import unicodedata
from collections.abc import Callable
from typing import TypeVar

from werkzeug.security import check_password_hash, generate_password_hash

from ..concurrency import bounded_queue, runtime

T = TypeVar("T")

# A scrypt hash takes tens of milliseconds of a core and 32 MiB: one core stays free for the loop,
# and more than two hashes at a time would take too much memory from the rest of the process.
SLOTS = max(1, min(2, (os.cpu_count() or 1) - 1))
# At 50 to 100 ms each, 100 requests take 5 to 10 s. A class of 40 behind one address fits.
MAX_WAITING, MAX_WAITING_PER_ADDRESS = 100, 50
WAIT_TIMEOUT = 10  # seconds in the queue; most clients give up after that
RETRY_AFTER = 5  # seconds
# When cores are scarce, other threads get about ten times the CPU time of these:
# https://man7.org/linux/man-pages/man7/sched.7.html
NICE = 10


def new_queue(observe_wait: Callable[[float], object]) -> bounded_queue.BoundedQueue:
    """Return an empty queue for the work of this module."""
    return bounded_queue.BoundedQueue(
        SLOTS,
        MAX_WAITING,
        WAIT_TIMEOUT,
        MAX_WAITING_PER_ADDRESS,
        RETRY_AFTER,
        observe_wait=observe_wait,
    )


def normalized(password: str) -> str:
    """Return the password in NFC, so that its hash does not depend on the input system."""
    return unicodedata.normalize("NFC", password)


def hash_password(password: str) -> str:
    """Return a salted scrypt hash. Blocks the caller, not the loop, for tens of milliseconds."""
    return runtime.run_in_thread(_at_low_priority, generate_password_hash, normalized(password))


def matches(password: str, password_hash: str | None) -> bool:
    """Whether the password has this hash. If the hash is None: False, after the same time.

    Blocks the caller, not the loop, for tens of milliseconds; twice as long if not in NFC.
    """
    return runtime.run_in_thread(_at_low_priority, _matches, password, password_hash)


def _matches(password: str, password_hash: str | None) -> bool:
    compared = password_hash or _dummy_hash()
    # Older hashes were made without normalizing the password.
    variants = dict.fromkeys((normalized(password), password))
    return any(check_password_hash(compared, each) for each in variants) and bool(password_hash)


@functools.cache
def _dummy_hash() -> str:
    """Return a hash for unknown names, so that their check takes as long as that of known names."""
    return generate_password_hash("the password of no account")


def _at_low_priority(work: Callable[..., T], *args: object) -> T:
    """Return `work(*args)` or raise its error. Runs it in a new thread of low priority. Blocks."""
    outcomes: list[T | Exception] = []

    def run() -> None:
        if sys.platform == "linux":  # elsewhere it would apply to the whole process
            with contextlib.suppress(OSError):  # a sandbox may forbid it
                os.setpriority(os.PRIO_PROCESS, runtime.threads.get_native_id(), NICE)
        outcomes.append(runtime.outcome_of(work, *args))

    thread = runtime.threads.Thread(target=run, daemon=True)
    thread.start()
    thread.join()
    return runtime.result_of(outcomes[0])
