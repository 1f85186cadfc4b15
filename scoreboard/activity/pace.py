"""The pace of refusals: who is refused again and again from one address has to wait for the next.

Nobody else waits: what is let through, from that address too, is answered at once. So guessing and
flooding go no faster than this, and leave the loop to those who have business here.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

from flask import Flask

from .rules import Memory

# Refusals of one address within a second that nobody waits for.
FREE_A_SECOND = 200
# How long an answer is held back at the most, and how many are at a time: each holds a connection.
LONGEST_SECONDS = 1.0
MOST_HELD = 1000


class Pace:
    """How fast refusals come, by address. Whose turn to be refused is not yet has to wait."""

    def __init__(self) -> None:
        # Of each address, when its next refusal is due, by time.monotonic.
        self._due: Memory[list[float]] = Memory(lambda: [0.0])
        self._lock = threading.Lock()
        self._held = 0

    def refuse(self, address: str) -> None:
        """Count a refusal; return when it is due, within LONGEST_SECONDS."""
        seconds = self._seconds(address, time.monotonic())
        if seconds <= 0 or self._held >= MOST_HELD:
            return
        self._held += 1
        try:
            time.sleep(seconds)
        finally:
            self._held -= 1

    def _seconds(self, address: str, now: float) -> float:
        with self._lock:
            due = self._due.of(address)
            due[0] = max(due[0], now - 1) + 1 / FREE_A_SECOND
            return min(due[0] - now, LONGEST_SECONDS)


def init_app(app: Flask) -> None:
    """Give the application its pace."""
    app.extensions["pace"] = Pace()


def hold_back(app: Flask) -> None:
    """Hold back the answers that refuse, of every endpoint, once an address gets too many."""
    app.wsgi_app = _Paced(app)  # type: ignore[method-assign]


class _Paced:
    def __init__(self, app: Flask) -> None:
        self._inner = app.wsgi_app
        self._pace: Pace = app.extensions["pace"]

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        def start(status: str, *rest: Any) -> Any:
            if status.startswith("4"):
                self._pace.refuse(environ.get("REMOTE_ADDR", "unknown"))
            return start_response(status, *rest)

        return self._inner(environ, start)
