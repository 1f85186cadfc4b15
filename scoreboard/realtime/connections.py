"""Who is connected: counted by address and user, each until its deadline.

A connection has ten seconds to authenticate; then it may stay until its token expires.
"""

import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from .. import metrics
from ..errors import Stopping, TooManyConnections
from ..permissions import Caller

log = logging.getLogger(__name__)

SECONDS_TO_AUTHENTICATE = 10
SECONDS_TO_LEAVE = 5
CONNECTIONS_PER_USER = 50
# Below the 55 s after which platforms' routers drop a silent connection.
PING_SECONDS = 25

UNAUTHORIZED = 4401
SERVICE_RESTART = 1012


@dataclass(eq=False, slots=True)
class Connection:
    """One connection of either kind, `socket.io` or `websocket`.

    `close(code, reason)` says goodbye and may be called again to insist; `hang_up` ends the
    transport without one, as a lost network would, so that the client comes back; `ping` asks for
    a sign of life where the protocol above does not. `deadline` and `pinged_at` are by
    time.monotonic; only its token ends by the clock.
    """

    address: str
    kind: str
    close: Callable[[int, str], None] = lambda code, reason: None
    hang_up: Callable[[int, str], None] = lambda code, reason: None
    ping: Callable[[], None] | None = None
    deadline: float = 0.0
    pinged_at: float = 0.0
    token: str | None = None
    caller: Caller | None = None


class Connections:
    """The connections of this process."""

    def __init__(self, per_address: int) -> None:
        self._per_address = per_address
        self._all: set[Connection] = set()
        self._waiting: Counter[str] = Counter()
        self._admitted: Counter[str] = Counter()
        self._users: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._when_first: Callable[[], object] | None = None
        self._with_each_sweep: Callable[[], object] = lambda: None
        self.stopping = False

    def when_first(self, call: Callable[[], object]) -> None:
        """Call this once, when the first connection is opened."""
        self._when_first = call

    def with_each_sweep(self, call: Callable[[], object]) -> None:
        """Call this with every sweep."""
        self._with_each_sweep = call

    def open(self, connection: Connection) -> None:
        """Take in a connection that has yet to authenticate.

        Raises TooManyConnections, and Stopping once the process is about to end.
        """
        now = time.monotonic()
        with self._lock:
            if self.stopping:
                raise Stopping
            if self._waiting[connection.address] >= self._per_address:
                raise TooManyConnections("Too many connections from this address.")
            self._waiting[connection.address] += 1
            self._all.add(connection)
            metrics.CONNECTIONS.labels(connection.kind).inc()
            connection.deadline = now + SECONDS_TO_AUTHENTICATE
            connection.pinged_at = now
            first, self._when_first = self._when_first, None
        if first:
            first()

    def admit(self, connection: Connection, caller: Caller, token: str) -> None:
        """Let an open connection stay until its token expires. Raises TooManyConnections."""
        with self._lock:
            if connection not in self._all or connection.caller is not None:
                raise TooManyConnections("This connection has ended.")
            if self._admitted[connection.address] >= self._per_address:
                raise TooManyConnections("Too many connections from this address.")
            if caller.user_id and self._users[caller.user_id] >= CONNECTIONS_PER_USER:
                raise TooManyConnections("Too many connections of this user.")
            self._count_out(connection)
            connection.caller, connection.token = caller, token
            connection.deadline = math.inf
            self._admitted[connection.address] += 1
            if caller.user_id:
                self._users[caller.user_id] += 1

    def leave(self, connection: Connection) -> None:
        """Take note that an admitted connection has signed off; it has seconds left to close."""
        with self._lock:
            if connection in self._all and connection.caller is not None:
                self._count_out(connection)
                connection.caller = connection.token = None
                self._waiting[connection.address] += 1
                connection.deadline = time.monotonic() + SECONDS_TO_LEAVE

    def drop(self, connection: Connection) -> None:
        """Forget a connection that has ended."""
        with self._lock:
            if connection in self._all:
                self._all.discard(connection)
                metrics.CONNECTIONS.labels(connection.kind).dec()
                self._count_out(connection)

    def end_session(self, token_id: str, until: float) -> None:
        """Close every connection made with a token of this name that was issued until then."""
        for connection in list(self._all):
            caller = connection.caller
            if caller and token_id in caller.token_ids and caller.issued_at <= until:
                connection.close(UNAUTHORIZED, "token_revoked")

    def stop(self) -> None:
        """Take no more connections, nor events by those that there are."""
        self.stopping = True

    def hang_up_all(self) -> None:
        """End every connection because the service restarts."""
        for connection in list(self._all):
            connection.hang_up(SERVICE_RESTART, "restarting")

    def sweep(self, now: float) -> None:
        """Close whatever is past its deadline, and ask the silent for a sign of life.

        `now` is by time.monotonic.
        """
        self._with_each_sweep()
        for connection in list(self._all):
            try:
                self._look_at(connection, now)
            except Exception:
                # Or this one would keep all that come after it open, with every sweep.
                log.exception("a connection could not be swept")

    def _look_at(self, connection: Connection, now: float) -> None:
        caller = connection.caller
        if caller and caller.expires_at <= time.time():
            connection.close(UNAUTHORIZED, "token_expired")
        elif connection.deadline <= now:
            connection.close(UNAUTHORIZED, "not_authenticated")
        elif connection.ping and connection.pinged_at + PING_SECONDS <= now:
            connection.pinged_at = now
            connection.ping()

    def _count_out(self, connection: Connection) -> None:
        if connection.caller is None:
            _decrement(self._waiting, connection.address)
            return
        _decrement(self._admitted, connection.address)
        if connection.caller.user_id:
            _decrement(self._users, connection.caller.user_id)


def _decrement(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]
