"""Password hashes, made and checked off the loop."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from werkzeug.security import check_password_hash, generate_password_hash

from ..errors import RateLimited
from ..realtime.transport import off_loop

# scrypt takes tens of milliseconds of a core and 32 MiB a hash: one core is left to the loop, and
# more than two at a time would only crowd out everybody else's memory.
_slots = threading.Semaphore(max(1, min(2, (os.cpu_count() or 1) - 1)))
# Who comes when so many wait already, which takes seconds, is told to come back.
MOST_WAITING = 50
RETRY_SECONDS = 5

# Checked when there is no hash, so that an unknown name takes as long as a wrong password.
_NOBODY = generate_password_hash("nobody signs in with this")

_waiting: set[object] = set()


def hash_password(password: str) -> str:
    """Return a salted scrypt hash of the password. Raises RateLimited if too many wait for one."""
    with _turn():
        return off_loop(generate_password_hash, password)


def matches(password: str, password_hash: str | None) -> bool:
    """Whether the password has this hash. False, and no faster, if there is none.

    Raises RateLimited if too many wait for that.
    """
    with _turn():
        right = off_loop(check_password_hash, password_hash or _NOBODY, password)
    return right and password_hash is not None


@contextmanager
def _turn() -> Iterator[None]:
    if len(_waiting) >= MOST_WAITING:
        raise RateLimited(RETRY_SECONDS)
    me = object()
    _waiting.add(me)
    try:
        with _slots:
            _waiting.discard(me)
            yield
    finally:
        _waiting.discard(me)
