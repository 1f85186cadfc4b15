"""Wait for a condition, with a deadline."""

import threading
import time
from collections.abc import Callable

TIMEOUT = 10  # default deadline


def wait_until(true: Callable[[], bool], seconds: float = TIMEOUT) -> None:
    """Wait for what no event tells, looking again and again until the deadline."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not true():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        pause.wait(0.02)
