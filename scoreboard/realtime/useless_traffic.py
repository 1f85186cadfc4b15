"""Limit the useless frames or packets of a connection, such as unrequested pings."""

import time

# Frames within so many seconds.
MAX_FRAMES, WINDOW = 50, 10
# In bytes; a larger frame counts as several.
FRAME_SIZE = 1024


class UselessTraffic:
    """Counts the useless frames or packets of one connection in a leaky bucket."""

    __slots__ = ("_until",)

    def __init__(self) -> None:
        self._until = 0.0

    def exceeds_limit(self, size: int) -> bool:
        """Count a frame of `size` bytes. Return whether the limit is exceeded."""
        now = time.monotonic()
        frames = 1 + size // FRAME_SIZE
        self._until = max(self._until, now - WINDOW) + frames * WINDOW / MAX_FRAMES
        return self._until > now
