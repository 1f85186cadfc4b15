"""Who is connected: counted by address and user, each until its deadline.

A connection has ten seconds to authenticate; then it may stay until its token expires.
"""

import logging
import math
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..concurrency import runtime as transport
from ..errors import Stopping, TooManyConnections
from ..observability import metrics
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
    ping_seconds: float = PING_SECONDS
    deadline: float = 0.0
    pinged_at: float = 0.0
    token: str | None = None
    caller: Caller | None = None


class Connections:
    """The connections of this process."""

    def __init__(self, per_address: int) -> None:
        self._per_address = per_address
        self._max_connections = sys.maxsize
        self._all: set[Connection] = set()
        # Of each address, who has yet to authenticate, the longest first.
        self._waiting: dict[str, dict[Connection | None, None]] = {}
        self._admitted: Counter[str] = Counter()
        self._users: Counter[str] = Counter()
        self._round: list[Connection] = []
        self._lock = threading.Lock()
        self._when_first: Callable[[], object] | None = None
        self._with_each_sweep: Callable[[], object] = lambda: None
        self.stopping = False

    def set_capacity(self, most: int, per_address: int) -> None:
        """Hold at most so many connections in all, and so many of one address.

        A server calls this that has only so many files; a lower setting for an address stays.
        """
        self._max_connections = most
        self._per_address = min(self._per_address, per_address)

    def count(self, address: str) -> int:
        """Return how many connections this address has."""
        return self._admitted[address] + self.waiting(address)

    def when_first(self, call: Callable[[], object]) -> None:
        """Call this once, when the first connection is opened."""
        self._when_first = call

    def with_each_sweep(self, call: Callable[[], object]) -> None:
        """Call this with every sweep."""
        self._with_each_sweep = call

    def open(self, connection: Connection) -> None:
        """Take in a connection that has yet to authenticate.

        When too many of its address do, the one that has taken longest for it makes room: who
        means to takes a moment. Raises Stopping once the process is about to end, and
        TooManyConnections if the process holds as many as it can.
        """
        now = time.monotonic()
        with self._lock:
            if self.stopping:
                raise Stopping
            if len(self._all) >= self._max_connections:
                raise TooManyConnections("The server has no room for another live connection.")
            waiting = self._wait(connection)
            longest = next(iter(waiting)) if len(waiting) > self._per_address else None
            waiting.pop(longest, None)
            self._all.add(connection)
            metrics.CONNECTIONS.labels(connection.kind).inc()
            connection.deadline = now + SECONDS_TO_AUTHENTICATE
            connection.pinged_at = now
            first, self._when_first = self._when_first, None
        if first:
            first()
        if longest:
            longest.close(UNAUTHORIZED, "not_authenticated")

    def waiting(self, address: str) -> int:
        """Return how many of an address have yet to authenticate."""
        return len(self._waiting.get(address, ()))

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
                self._wait(connection)
                connection.deadline = time.monotonic() + SECONDS_TO_LEAVE

    def drop(self, connection: Connection) -> None:
        """Forget a connection that has ended."""
        with self._lock:
            if connection in self._all:
                self._all.discard(connection)
                metrics.CONNECTIONS.labels(connection.kind).dec()
                self._count_out(connection)

    def end_sessions(self, ended: Mapping[str, float]) -> None:
        """Close every connection made with a token of such a name that was issued until then.

        Thousands may share one: between two of them everybody else has a turn.
        """
        for connection in transport.yielding(self._all if ended else ()):
            caller = connection.caller
            if caller and any(
                caller.issued_at <= ended.get(name, -math.inf) for name in caller.token_ids
            ):
                connection.close(UNAUTHORIZED, "token_revoked")
                transport.give_way()

    def next_of_users(self, most: int) -> list[Connection]:
        """Return some connections of users; called again and again, every one comes round."""
        if not self._round:
            self._round = [each for each in list(self._all) if each.caller and each.caller.user_id]
        taken, self._round = self._round[:most], self._round[most:]
        return taken

    def stop(self) -> None:
        """Take no more connections, nor events by those that there are."""
        self.stopping = True

    def hang_up_all(self) -> None:
        """End every connection because the service restarts."""
        for connection in list(self._all):
            connection.hang_up(SERVICE_RESTART, "restarting")

    def sweep(self, now: float) -> None:
        """Close whatever is past its deadline, and ask the silent for a sign of life.

        `now` is by time.monotonic. Hundreds may be due together, as they came: between two of
        them everybody else has a turn.
        """
        self._with_each_sweep()
        for connection in transport.yielding(self._all):
            try:
                if connection in self._all and self._do_what_is_due(connection, now):
                    transport.give_way()
            except Exception:
                # Or this one would keep all that come after it open, with every sweep.
                log.exception("a connection could not be swept")

    def _do_what_is_due(self, connection: Connection, now: float) -> bool:
        """Return whether there was anything."""
        caller = connection.caller
        if caller and caller.expires_at <= time.time():
            connection.close(UNAUTHORIZED, "token_expired")
        elif connection.deadline <= now:
            connection.close(UNAUTHORIZED, "not_authenticated")
        elif connection.ping and connection.pinged_at + connection.ping_seconds <= now:
            connection.pinged_at = now
            connection.ping()
        else:
            return False
        return True

    def _wait(self, connection: Connection) -> dict[Connection | None, None]:
        """Have the connection wait, and return who does of its address."""
        waiting = self._waiting.setdefault(connection.address, {})
        waiting[connection] = None
        return waiting

    def _count_out(self, connection: Connection) -> None:
        if connection.caller is None:
            waiting = self._waiting.get(connection.address, {})
            waiting.pop(connection, None)
            if not waiting:
                self._waiting.pop(connection.address, None)
            return
        _decrement(self._admitted, connection.address)
        if connection.caller.user_id:
            _decrement(self._users, connection.caller.user_id)


def _decrement(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]
