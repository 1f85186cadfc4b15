"""Bounds what a connection sends that has no use here, such as pings nobody asked for."""

import time

MAX_FRAMES, WINDOW = 50, 10  # in so many seconds
# A larger one counts for several, in bytes.
FRAME_SIZE = 1024


class UselessTraffic:
    """Counts the useless frames or packets of one connection in a leaky bucket."""

    __slots__ = ("_until",)

    def __init__(self) -> None:
        self._until = 0.0

    def exceeds_limit(self, size: int) -> bool:
        """Count one more, of so many bytes; return True if that is too much."""
        now = time.monotonic()
        weight = 1 + size // FRAME_SIZE
        self._until = max(self._until, now - WINDOW) + weight * WINDOW / MAX_FRAMES
        return self._until > now
