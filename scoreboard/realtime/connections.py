"""The live connections of this process: limits by address and user, and their deadlines.

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

from ..concurrency import runtime
from ..errors import Stopping, TooManyConnections
from ..observability.metrics import Metrics
from ..permissions import Caller

log = logging.getLogger(__name__)

AUTHENTICATION_TIMEOUT = 10
LEAVE_TIMEOUT = 5
MAX_CONNECTIONS_PER_USER = 50
# Below 55 s, after which the routers of hosting platforms drop an idle connection.
PING_INTERVAL = 25

UNAUTHORIZED = 4401
SERVICE_RESTART = 1012


@dataclass(eq=False, slots=True)
class Connection:
    """One live connection. `kind` is `socket.io` or `websocket`.

    `close(code, reason)` disconnects the client by protocol and, called again, by force.
    `close_transport(code, reason)` closes only the transport, as a lost network would, so that the
    client reconnects. `ping`, if set, is called every `ping_seconds`. `deadline` and `pinged_at`
    are by time.monotonic; tokens expire by time.time.
    """

    address: str
    kind: str
    close: Callable[[int, str], None] = lambda code, reason: None
    close_transport: Callable[[int, str], None] = lambda code, reason: None
    ping: Callable[[], None] | None = None
    ping_seconds: float = PING_INTERVAL
    deadline: float = 0.0
    pinged_at: float = 0.0
    token: str | None = None
    caller: Caller | None = None


class Connections:
    """The connections of this process, and their counts by address and user."""

    def __init__(self, per_address: int, metrics: Metrics) -> None:
        self._metrics = metrics
        self._per_address = per_address
        self._max_connections = sys.maxsize
        self._all: set[Connection] = set()
        # Unauthenticated connections by address, the oldest first.
        self._waiting: dict[str, dict[Connection | None, None]] = {}
        self._admitted: Counter[str] = Counter()
        self._users: Counter[str] = Counter()
        self._round: list[Connection] = []
        self._lock = threading.Lock()
        self._when_first: Callable[[], object] | None = None
        self._with_each_sweep: Callable[[], object] = lambda: None
        self.stopping = False

    def set_capacity(self, most: int, per_address: int) -> None:
        """Limit the connections in total and per address.

        The server passes what its file descriptors allow. A lower setting per address stays.
        """
        self._max_connections = most
        self._per_address = min(self._per_address, per_address)

    def count(self, address: str) -> int:
        """Return how many connections this address has."""
        return self._admitted[address] + self.waiting(address)

    def on_first_connection(self, call: Callable[[], object]) -> None:
        """Register `call` to be called once, when the first connection opens."""
        self._when_first = call

    def on_sweep(self, call: Callable[[], object]) -> None:
        """Register `call` to be called at the start of every sweep."""
        self._with_each_sweep = call

    def open(self, connection: Connection) -> None:
        """Register a connection that has yet to authenticate.

        If its address has too many of these, the oldest is closed: real clients authenticate at
        once. Raises Stopping while the process is stopping, and TooManyConnections if it is full.
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
            self._metrics.connections.labels(connection.kind).inc()
            connection.deadline = now + AUTHENTICATION_TIMEOUT
            connection.pinged_at = now
            first, self._when_first = self._when_first, None
        if first:
            first()
        if longest:
            longest.close(UNAUTHORIZED, "not_authenticated")

    def waiting(self, address: str) -> int:
        """Return how many unauthenticated connections this address has."""
        return len(self._waiting.get(address, ()))

    def admit(self, connection: Connection, caller: Caller, token: str) -> None:
        """Admit an open connection until its token expires. Raises TooManyConnections."""
        with self._lock:
            if connection not in self._all or connection.caller is not None:
                raise TooManyConnections("This connection has ended.")
            if self._admitted[connection.address] >= self._per_address:
                raise TooManyConnections("Too many connections from this address.")
            if caller.user_id and self._users[caller.user_id] >= MAX_CONNECTIONS_PER_USER:
                raise TooManyConnections("Too many connections of this user.")
            self._count_out(connection)
            connection.caller, connection.token = caller, token
            connection.deadline = math.inf
            self._admitted[connection.address] += 1
            if caller.user_id:
                self._users[caller.user_id] += 1

    def leave(self, connection: Connection) -> None:
        """Give an admitted client that disconnected LEAVE_TIMEOUT to close the transport."""
        with self._lock:
            if connection in self._all and connection.caller is not None:
                self._count_out(connection)
                connection.caller = connection.token = None
                self._wait(connection)
                connection.deadline = time.monotonic() + LEAVE_TIMEOUT

    def drop(self, connection: Connection) -> None:
        """Remove a connection that has ended."""
        with self._lock:
            if connection in self._all:
                self._all.discard(connection)
                self._metrics.connections.labels(connection.kind).dec()
                self._count_out(connection)

    def end_sessions(self, ended: Mapping[str, float]) -> None:
        """Close every connection whose token has one of these ids and was issued by its time.

        `ended` maps token ids to Unix times. Yields to the loop after each close: thousands may
        share one id.
        """
        for connection in runtime.yielding(self._all if ended else ()):
            caller = connection.caller
            if caller and any(
                caller.issued_at <= ended.get(name, -math.inf) for name in caller.token_ids
            ):
                connection.close(UNAUTHORIZED, "token_revoked")
                runtime.yield_to_loop()

    def next_user_connections(self, most: int) -> list[Connection]:
        """Return at most `most` connections of users; repeated calls go through all of them."""
        if not self._round:
            self._round = [each for each in list(self._all) if each.caller and each.caller.user_id]
        taken, self._round = self._round[:most], self._round[most:]
        return taken

    def stop(self) -> None:
        """Refuse new connections, and new events of the open ones."""
        self.stopping = True

    def close_all_transports(self) -> None:
        """Close the transport of every connection because the service restarts."""
        for connection in list(self._all):
            connection.close_transport(SERVICE_RESTART, "restarting")

    def sweep(self, now: float) -> None:
        """Close connections whose deadline or token has expired, and ping those that are due.

        `now` is by time.monotonic. Yields to the loop after each connection that is due, because
        hundreds that connected together are due together.
        """
        self._with_each_sweep()
        for connection in runtime.yielding(self._all):
            try:
                if connection in self._all and self._do_what_is_due(connection, now):
                    runtime.yield_to_loop()
            except Exception:
                # One failure must not exempt the connections after it from every sweep.
                log.exception("a connection could not be swept")

    def _do_what_is_due(self, connection: Connection, now: float) -> bool:
        """Close or ping the connection if that is due. Return whether it was."""
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
        """Add an unauthenticated connection, and return all such of its address."""
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
