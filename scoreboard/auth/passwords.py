"""Password hashes, made and checked off the loop."""

import threading

from werkzeug.security import check_password_hash, generate_password_hash

from ..realtime.transport import off_loop

# scrypt takes tens of milliseconds and 32 MiB a hash: more at a time would only crowd out
# everybody else's memory and the two cores there are.
_slots = threading.Semaphore(2)

# Checked when there is no hash, so that an unknown name takes as long as a wrong password.
_NOBODY = generate_password_hash("nobody signs in with this")


def hash_password(password: str) -> str:
    """Return a salted scrypt hash of the password."""
    with _slots:
        return off_loop(generate_password_hash, password)


def matches(password: str, password_hash: str | None) -> bool:
    """Whether the password has this hash. False, and no faster, if there is none."""
    with _slots:
        right = off_loop(check_password_hash, password_hash or _NOBODY, password)
    return right and password_hash is not None
