"""Fair turns of the loop: a crowd that comes at the same moment is no reason for others to wait.

The loop serves in the order of coming, so who comes behind hundreds of requests of one address
would wait for all of them. Here they stand in a line of their own, and those are served by turns,
in as many turns of the loop as it takes. Whoever has no line in front of it is served at once.
"""

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from flask import Flask

from .realtime import transport

# From when on, in a turn of the loop, those have to wait of whom one was served in it.
TURN_SECONDS = 0.005
# All who come here are one line more, as they have yet to say who they are.
SIGN_INS = ("/api/auth/login", "/api/auth/register")
ALL_SIGN_INS = "all sign-ins"


def init_app(app: Flask) -> None:
    """Have requests take turns, where a loop serves them: threads take turns as it is."""
    app.extensions["turns"] = in_turn = InTurn(app)
    if transport.GREEN:
        app.wsgi_app = in_turn  # type: ignore[method-assign]


class InTurn:
    """The application, with whose turn it is: before a request is read, or once it is."""

    def __init__(self, app: Flask) -> None:
        self._inner, self._turns = app.wsgi_app, Turns()
        self._is_proxied = app.config["TRUSTED_PROXIES"] > 0

    @property
    def somebody_waits(self) -> bool:
        """Whether it is not everybody's turn yet who has asked."""
        return self._turns.somebody_waits

    def take_head(self, address: str) -> None:
        """Return when the head of a request by this address may be read.

        At once for a proxy: for whom it asks is in the head.
        """
        if not self._is_proxied:
            self._turns.take(address)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        """Answer a request, once it is its turn."""
        if self._is_proxied:
            self._turns.take(environ.get("REMOTE_ADDR", "unknown"))
        if environ.get("PATH_INFO") in SIGN_INS:
            self._turns.take(ALL_SIGN_INS)
        return self._inner(environ, start_response)


class Turns:
    """Who was served in the present turn of the loop, and who waits for the next."""

    def __init__(self) -> None:
        self._began = 0.0
        self._served: set[str] = set()
        self._lines: dict[str, deque[Callable[[], object]]] = {}

    @property
    def somebody_waits(self) -> bool:
        """Whether there is anybody in a line."""
        return bool(self._lines)

    def take(self, line: str) -> None:
        """Return when it is this one's turn: at once, for the first of its line in any turn."""
        if not self._served:
            self._began = time.monotonic()
            transport.at_next_turn(self._next)
        if line in self._lines or (line in self._served and self._is_over()):
            transport.suspend(self._lines.setdefault(line, deque()).append)
        else:
            self._served.add(line)

    def _is_over(self) -> bool:
        return time.monotonic() - self._began > TURN_SECONDS

    def _next(self) -> None:
        """Serve those who wait, one line after the other, while there is time: one at least."""
        self._began = time.monotonic()
        self._served = set(self._lines)
        if not self._lines:
            return
        transport.at_next_turn(self._next)
        self._serve_one()
        while self._lines and not self._is_over():
            self._serve_one()

    def _serve_one(self) -> None:
        """Serve the first of the first line, which then is the last of the lines."""
        line = next(iter(self._lines))
        waiting = self._lines.pop(line)
        go = waiting.popleft()
        if waiting:
            self._lines[line] = waiting
        go()
