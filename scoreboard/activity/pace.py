"""The pace of refusals: who is refused again and again from one address has to wait for the next.

No other answer is held back: what is let through, from that address too, is answered once it is its
turn, the last (`turns.py`). So guessing and flooding become slow, and leave the loop to those who
have business here. What is large counts for several, as it takes so much longer to read. All who
are refused to sign in count as one as well, wherever they come from.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

from flask import Flask

from .. import deadlines
from ..errors import ADDRESS_LIMITED, RateLimited, refuse
from ..turns import ALL_SIGN_INS, SIGN_INS
from .rules import Memory

# Refusals of one within a second that nobody waits for, of up to so many bytes each.
FREE_A_SECOND, ONE_BYTES = 50, 1024
# How long an answer is held back at the most, and how many are at a time: each holds a connection.
LONGEST_SECONDS = 3.0
MOST_HELD = 500
# Where limits are by address alone, and how long one that was reached is not looked at again.
LIMITED_BY_ADDRESS = "/api/auth/"
LIMITED_SECONDS = 1.0


class Pace:
    """How fast refusals come, by who is refused. Whose turn is not yet has to wait."""

    def __init__(self) -> None:
        # Of each, when the next refusal is due, by time.monotonic.
        self._due: Memory[list[float]] = Memory(lambda: [0.0])
        self._lock = threading.Lock()
        self._held = 0

    def refuse(self, who: str, size: int) -> None:
        """Count a refusal of so many bytes; return when it is due, within LONGEST_SECONDS."""
        seconds = self._seconds(who, 1 + size // ONE_BYTES, time.monotonic())
        if seconds <= 0 or self._held >= MOST_HELD:
            return
        self._held += 1
        try:
            time.sleep(seconds)
        finally:
            self._held -= 1

    def is_slowed(self, who: str) -> bool:
        """Whether the next refusal has to wait."""
        return who in self._due and self._due.of(who)[0] > time.monotonic()

    def _seconds(self, who: str, weight: int, now: float) -> float:
        with self._lock:
            due = self._due.of(who)
            due[0] = min(max(due[0], now - 1) + weight / FREE_A_SECOND, now + LONGEST_SECONDS)
            return due[0] - now


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
        self._longest = app.config["MAX_CONTENT_LENGTH"]
        # Of an address and a path, until when requests need not be looked at, by time.monotonic.
        self._limited: Memory[_Limited] = Memory(_Limited)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        address, path = environ.get("REMOTE_ADDR", "unknown"), environ.get("PATH_INFO", "")

        limited: list[bool] = []
        environ[ADDRESS_LIMITED] = lambda: limited.append(True)

        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            if status.startswith("4") and path.startswith(LIMITED_BY_ADDRESS):
                # Or all the passwords would be tried that may wait behind this one.
                environ.get(deadlines.LAST_ANSWER, lambda: None)()
                if status.startswith("429") and limited:
                    self._limited.of((address, path)).remember(headers)
            refused = status.startswith(("4", "503") if path in SIGN_INS else "4")
            if refused:
                self._pace.refuse(address, self._size(environ))
            if refused and path in SIGN_INS:
                # Of one each, as what they say of their size costs the others nothing.
                self._pace.refuse(ALL_SIGN_INS, 0)
            return start_response(status, headers, *rest)

        if path.startswith(LIMITED_BY_ADDRESS) and "HTTP_ORIGIN" not in environ:
            retry_after = self._retry_after(address, path)
            if retry_after:
                return refuse(RateLimited(retry_after), start)
        return self._inner(environ, start)

    def _retry_after(self, address: str, path: str) -> int:
        """Return in how many seconds to come again, as far as that is known; 0 if it is not."""
        if (address, path) not in self._limited:
            return 0
        limited = self._limited.of((address, path))
        return limited.retry_after if time.monotonic() < limited.until else 0

    def _size(self, environ: dict[str, Any]) -> int:
        """Return how long the body is said to be, as far as anything like that is read."""
        length = environ.get("CONTENT_LENGTH") or ""
        said = int(length) if length.isdecimal() and len(length) < 10 else 0
        return min(said, self._longest)


class _Limited:
    """That an address has reached its limit at an endpoint, which to find out takes a while."""

    until = 0.0
    retry_after = 1

    def remember(self, headers: list[tuple[str, str]]) -> None:
        """Take note of an answer; one that only repeats this changes nothing."""
        now = time.monotonic()
        if now >= self.until:
            self.until = now + LIMITED_SECONDS
            self.retry_after = int(dict(headers).get("Retry-After", "1"))
