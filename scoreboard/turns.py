"""Fair turns of the loop: a crowd that comes at the same moment is no reason for others to wait.

The loop serves in the order of coming, so who comes behind hundreds of requests of one address
would wait for all of them. Here they stand in a line of their own, and those are served by turns,
in as many turns of the loop as it takes. Whoever has no line in front of it is served at once.

Addresses that are refused again and again, or have many connections that have yet to say who they
are, come last: one of all those in a turn, and for a while none if a thread works for the database.
"""

import functools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from flask import Flask

from . import database
from .errors import RateLimited, refuse
from .realtime import transport

# From when on, in a turn of the loop, those have to wait of whom one was served in it.
TURN_SECONDS = 0.001
# All who come here are one line more, as they have yet to say who they are.
SIGN_INS = ("/api/auth/login", "/api/auth/register")
ALL_SIGN_INS = "all sign-ins"
# How many connections of an address may have yet to authenticate before it comes last.
MOST_STRANGERS = 50
# How many of those who come last wait for their turn, because too many are refused or because there
# are so many strangers: viewers who all come back are, for a moment. Then only those may join who
# have a line that is shorter than the lines are on average.
MOST_WAITING, MOST_STRANGERS_WAITING = 1000, 5000
# Until when to come again.
RETRY_SECONDS = 1
# For how long those who come last let a thread work, which waits for the loop whenever that is
# busy: on one core for milliseconds, some twenty times for an update in SQLite.
REST_SECONDS, MOST_RESTS = 0.001, 5
# How many connections, of the thousands that there may be, are looked at in one go.
MOST_IN_ONE_GO = 100

T = TypeVar("T")
Lines = dict[str, deque[Callable[[], object]]]


def init_app(app: Flask) -> None:
    """Have requests take turns, where a loop serves them: threads take turns as it is."""
    app.extensions["turns"] = in_turn = InTurn(app)
    if transport.GREEN:
        app.wsgi_app = in_turn  # type: ignore[method-assign]


def by_turns(things: Iterable[T]) -> Iterator[T]:
    """Go through all that there are now, and let everybody else have a turn in between."""
    for number, thing in enumerate(list(things), 1):
        yield thing
        if number % MOST_IN_ONE_GO == 0:
            transport.give_way()


class InTurn:
    """The application, with whose turn it is: before a request is read, or once it is."""

    def __init__(self, app: Flask) -> None:
        self._inner, self._turns = app.wsgi_app, Turns()
        self._pace, self._connections = app.extensions["pace"], app.extensions["connections"]
        self._is_proxied = app.config["TRUSTED_PROXIES"] > 0

    @property
    def somebody_waits(self) -> bool:
        """Whether it is not everybody's turn yet who has asked."""
        return self._turns.somebody_waits

    def begin(self, address: str, serve: Callable[..., object], *args: Any) -> bool:
        """Call `serve(*args)` once a new connection of this address is to be served.

        That is at once, but for those who come last. Return False if it never is: too many wait.
        """
        most = 0 if self._is_proxied else self._most_waiting(address)
        if most:
            call = functools.partial(serve, *args)
            return self._turns.call_last(f"new from {address}", call, most)
        serve(*args)
        return True

    def take_head(self, address: str) -> bool:
        """Return True when the head of a request by this address may be read, or False if never.

        At once for a proxy: for whom it asks is in the head.
        """
        return self._is_proxied or self._take(address, self._most_waiting(address))

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        """Answer a request, once it is its turn."""
        address = environ.get("REMOTE_ADDR", "unknown")
        if self._is_proxied and not self._take(address, self._most_waiting(address)):
            return refuse(RateLimited(RETRY_SECONDS), start_response)
        if environ.get("PATH_INFO") in SIGN_INS:
            most = self._most_waiting(ALL_SIGN_INS)
            # While too many are refused, by turns, or all would wait for those who come most often.
            line = f"sign-in from {address}" if most else ALL_SIGN_INS
            if not self._take(line, most):
                return refuse(RateLimited(RETRY_SECONDS), start_response)
        return self._inner(environ, start_response)

    def _take(self, line: str, most: int) -> bool:
        if most:
            return self._turns.take_last(line, most)
        self._turns.take(line)
        return True

    def _most_waiting(self, who: str) -> int:
        """Return how many may wait if this one comes last, 0 if it does not."""
        if self._pace.is_slowed(who):
            return MOST_WAITING
        strangers: int = self._connections.waiting(who)
        return MOST_STRANGERS_WAITING if strangers > MOST_STRANGERS else 0


class Turns:
    """Who was served in the present turn of the loop, and who waits for the next."""

    def __init__(self) -> None:
        self._began = 0.0
        self._goes_on = False
        self._waiting = 0
        self._rests = 0
        self._served: set[str] = set()
        self._lines: Lines = {}
        self._last: Lines = {}

    @property
    def somebody_waits(self) -> bool:
        """Whether there is anybody in a line."""
        return bool(self._lines or self._last)

    def take(self, line: str) -> None:
        """Return when it is this one's turn: at once, for the first of its line in any turn."""
        self._go_on()
        if line in self._lines or (line in self._served and self._is_over()):
            transport.suspend(self._lines.setdefault(line, deque()).append)
        else:
            self._served.add(line)

    def take_last(self, line: str, most: int) -> bool:
        """Return True when it is the turn of this one, of all who come last.

        False at once if that is never, as `most` wait, and no fewer in this line than in others.
        """
        if self._is_full(line, most):
            return False
        transport.suspend(functools.partial(self._join, line))
        return True

    def call_last(self, line: str, go: Callable[[], object], most: int) -> bool:
        """Call `go()` then, and return True; or False at once."""
        if self._is_full(line, most):
            return False
        self._join(line, go)
        return True

    def _is_full(self, line: str, most: int) -> bool:
        in_line = len(self._last.get(line, ()))
        return self._waiting >= most and in_line * len(self._last) >= self._waiting

    def _join(self, line: str, go: Callable[[], object]) -> None:
        self._go_on()
        self._last.setdefault(line, deque()).append(go)
        self._waiting += 1

    def _go_on(self) -> None:
        if not self._goes_on:
            self._goes_on = True
            self._began = time.monotonic()
            transport.at_next_turn(self._next)

    def _is_over(self) -> bool:
        return time.monotonic() - self._began > TURN_SECONDS

    def _next(self) -> None:
        """Serve one of those who come last, and the other lines by turns while there is time."""
        self._began = time.monotonic()
        self._served = set(self._lines)
        self._goes_on = self.somebody_waits
        rests = self._is_to_rest()
        if self._goes_on:
            transport.at_next_turn(self._next, REST_SECONDS if rests else 0)
        self._rests = self._rests + 1 if rests else 0
        if self._last and not rests:
            self._waiting -= 1
            _serve_one(self._last)
        if self._lines:
            _serve_one(self._lines)
        while self._lines and not self._is_over():
            _serve_one(self._lines)

    def _is_to_rest(self) -> bool:
        only_last = self._last and not self._lines
        return bool(only_last) and self._rests < MOST_RESTS and database.threads_work()


def _serve_one(lines: Lines) -> None:
    """Serve the first of the first line, which then is the last of the lines."""
    line = next(iter(lines))
    waiting = lines.pop(line)
    go = waiting.popleft()
    if waiting:
        lines[line] = waiting
    go()
