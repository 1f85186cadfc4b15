"""Fair turns of the loop: a crowd that comes at the same moment is no reason for others to wait.

The loop serves in the order of coming, so who comes behind hundreds of requests of one address
would wait for all of them. Here they stand in a line of their own: in each turn of the loop, one of
every line, and as many more as there is time for. Whoever has no line in front is served at once.
"""

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from flask import Flask

from .realtime import transport

# From when on, in a turn of the loop, those have to wait of whom one was served in it.
TURN_SECONDS = 0.005
# All who sign in are in one line, as they have not said yet who they are.
SIGN_INS = "/api/auth/"


def init_app(app: Flask) -> None:
    """Have requests take turns, where a loop serves them: threads take turns as it is."""
    if transport.GREEN:
        app.wsgi_app = _InTurn(app.wsgi_app)  # type: ignore[method-assign]


class _InTurn:
    def __init__(self, inner: Callable[..., Any]) -> None:
        self._inner = inner
        self._turns = Turns()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        signs_in = environ.get("PATH_INFO", "").startswith(SIGN_INS)
        self._turns.take(SIGN_INS if signs_in else environ.get("REMOTE_ADDR", "unknown"))
        return self._inner(environ, start_response)


class Turns:
    """Who was served in the present turn of the loop, and who waits for the next."""

    def __init__(self) -> None:
        self._began = 0.0
        self._served: set[str] = set()
        self._lines: dict[str, deque[Callable[[], object]]] = {}

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
        """Serve one of every line, then more of them in the same order while there is time."""
        self._began = time.monotonic()
        self._served = set(self._lines)
        if not self._served:
            return
        transport.at_next_turn(self._next)
        first = True
        while self._lines and (first or not self._is_over()):
            self._serve_one_of_each()
            first = False

    def _serve_one_of_each(self) -> None:
        for line in list(self._lines):
            waiting = self._lines[line]
            go = waiting.popleft()
            if not waiting:
                del self._lines[line]
            go()
