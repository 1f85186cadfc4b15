"""Wait for a condition, with a deadline."""

import threading
import time
from collections.abc import Callable

TIMEOUT = 10  # seconds


def wait_until(condition: Callable[[], bool], seconds: float = TIMEOUT) -> None:
    """Poll until the condition is true. Fails after `seconds`."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        pause.wait(0.02)
