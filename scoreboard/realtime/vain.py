"""What clients send that says nothing, such as pings nobody asked for: so much, and no more."""

import secrets
import time

MOST, IN_SECONDS = 50, 10
# What is larger counts for several.
ONE_BYTES = 1024
# Before whoever has sent more is told so, and may come again: at least and at most, for several who
# were sent away at once would come back at once, and be a crowd again.
PAUSE_SECONDS = (1.0, 3.0)


class Vain:
    """What one connection has sent of that."""

    __slots__ = ("_until",)

    def __init__(self) -> None:
        self._until = 0.0

    def is_too_much(self, size: int) -> bool:
        """Take note of one more of so many bytes; if it is too much, return True after a pause."""
        now = time.monotonic()
        self._until = (
            max(self._until, now - IN_SECONDS) + (1 + size // ONE_BYTES) * IN_SECONDS / MOST
        )
        if self._until <= now:
            return False
        time.sleep(secrets.SystemRandom().uniform(*PAUSE_SECONDS))
        return True
