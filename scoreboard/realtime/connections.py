"""The live connections of this process: limits by address and user, and their deadlines.

A connection has ten seconds to authenticate; then it may stay until its token expires. A slow
subscriber is closed by `websocket/connection.py` or, if it polls, by `socketio/handlers.py`.
"""

import logging
import math
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

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
class LiveConnection:
    """One live connection. `kind` is `socket.io` or `websocket`.

    `close(code, reason)` disconnects the client by protocol and, called again, by force.
    `close_transport(code, reason)` closes only the transport, as a lost network would, so that the
    client reconnects. `awaits_poll()` is whether messages wait for the client's next poll. `ping`,
    if set, is called every `ping_interval` seconds. `deadline` and `pinged_at` are by
    time.monotonic; tokens expire by time.time.

    `caller` is set while the connection is admitted. `push` sends messages in the form of its
    protocol. `boards` are those that it watches, with their ledgers; only `hub.py` changes them.
    """

    address: str
    kind: str
    close: Callable[[int, str], None] = lambda code, reason: None
    close_transport: Callable[[int, str], None] = lambda code, reason: None
    awaits_poll: Callable[[], bool] = lambda: False
    ping: Callable[[], None] | None = None
    ping_interval: float = PING_INTERVAL
    deadline: float = 0.0
    pinged_at: float = 0.0
    token: str | None = None
    caller: Caller | None = None
    push: Callable[..., object] = lambda *frames: None
    boards: dict[str | None, Any] = field(default_factory=dict)


class Connections:
    """The connections of this process, and their counts by address and user."""

    def __init__(self, per_address: int, metrics: Metrics) -> None:
        self._metrics = metrics
        self._per_address = per_address
        self._max_connections = sys.maxsize
        self._all: set[LiveConnection] = set()
        # Connections, the oldest first, by ("waiting", address) until they have authenticated, then
        # by ("address", address) and ("user", user_id).
        self._groups: dict[tuple[str, str | None], dict[LiveConnection, None]] = {}
        self._unchecked: list[LiveConnection] = []
        self._lock = threading.Lock()
        self._when_first: Callable[[], object] | None = None
        self.stopping = False  # then new connections and events are refused

    def set_capacity(self, max_connections: int, per_address: int) -> None:
        """Limit the connections in total and per address; a lower setting per address stays."""
        self._max_connections = max_connections
        self._per_address = min(self._per_address, per_address)

    def count(self, address: str) -> int:
        """Return how many connections this address has."""
        return self._count("waiting", address) + self._count("address", address)

    def on_first_connection(self, call: Callable[[], object]) -> None:
        """Register `call`, to be called once: when the server or the first connection starts."""
        self._when_first = call

    def start(self) -> None:
        """Call what `on_first_connection` registered, unless it was called before."""
        first, self._when_first = self._when_first, None
        if first:
            first()

    def open(self, connection: LiveConnection) -> None:
        """Register a connection that has yet to authenticate.

        The oldest such connection of its address is closed if there are too many. Raises Stopping,
        and TooManyConnections if the process is full.
        """
        with self._lock:
            if self.stopping:
                raise Stopping
            if len(self._all) >= self._max_connections:
                raise TooManyConnections("The server has no room for another live connection.")
            waiting = self._groups.get(("waiting", connection.address), {})
            oldest = next(iter(waiting)) if len(waiting) >= self._per_address else None
            if oldest:
                self._count_out(oldest)
            self._all.add(connection)
            self._metrics.connections.labels(connection.kind).inc()
            self._count_in(connection)
            connection.pinged_at = time.monotonic()
            connection.deadline = connection.pinged_at + AUTHENTICATION_TIMEOUT
        self.start()
        if oldest:
            oldest.close(UNAUTHORIZED, "not_authenticated")

    def admit(self, connection: LiveConnection, caller: Caller, token: str) -> None:
        """Admit an open connection until its token expires. Raises TooManyConnections."""
        with self._lock:
            if connection not in self._all or connection.caller is not None:
                raise TooManyConnections("This connection has ended.")
            if self._count("address", connection.address) >= self._per_address:
                raise TooManyConnections("Too many connections from this address.")
            if self._count("user", caller.user_id) >= MAX_CONNECTIONS_PER_USER:
                raise TooManyConnections("Too many connections of this user.")
            self._count_out(connection)
            connection.caller, connection.token = caller, token
            connection.deadline = math.inf
            self._count_in(connection)

    def leave(self, connection: LiveConnection) -> None:
        """Give an admitted client that disconnected LEAVE_TIMEOUT to close the transport."""
        with self._lock:
            if connection in self._all and connection.caller is not None:
                self._count_out(connection)
                connection.caller = connection.token = None
                self._count_in(connection)
                connection.deadline = time.monotonic() + LEAVE_TIMEOUT

    def drop(self, connection: LiveConnection) -> None:
        """Remove a connection that has ended."""
        with self._lock:
            if connection in self._all:
                self._all.discard(connection)
                self._metrics.connections.labels(connection.kind).dec()
                self._count_out(connection)
                connection.caller = None

    def end_sessions(self, ended: Mapping[str, tuple[float, str | None]]) -> None:
        """Close every connection with one of these token ids, issued until the id's Unix time.

        The second value of an id is a sign-in whose connections stay open. Yields to the loop after
        each close: thousands may share one id.
        """
        for connection in runtime.yielding(self._all if ended else ()):
            caller = connection.caller
            if caller and any(
                caller.issued_at <= ended[name][0] and ended[name][1] not in caller.token_ids
                for name in caller.token_ids
                if name in ended
            ):
                connection.close(UNAUTHORIZED, "token_revoked")
                runtime.yield_to_loop()

    def next_user_connections(self, limit: int) -> list[LiveConnection]:
        """Return at most `limit` connections of users; repeated calls go through all of them."""
        if not self._unchecked:
            self._unchecked = [
                each for each in list(self._all) if each.caller and each.caller.user_id
            ]
        checked, self._unchecked = self._unchecked[:limit], self._unchecked[limit:]
        return checked

    def close_all_transports(self, wait_for_polls: bool) -> None:
        """Close the transport of every connection because the service restarts.

        With `wait_for_polls`, connections remain open whose messages wait for the next poll.
        """
        for connection in list(self._all):
            if not (wait_for_polls and connection.awaits_poll()):
                connection.close_transport(SERVICE_RESTART, "restarting")

    def sweep(self, now: float) -> None:
        """Close connections whose deadline or token has expired, and ping those that are due.

        `now` is by time.monotonic. Yields to the loop after each close or ping.
        """
        for connection in runtime.yielding(self._all):
            try:
                if connection in self._all and self._close_or_ping(connection, now):
                    runtime.yield_to_loop()
            except Exception:
                # One failure must not exempt the connections after it from every sweep.
                log.exception("a connection could not be swept")

    def _close_or_ping(self, connection: LiveConnection, now: float) -> bool:
        """Close or ping the connection if that is due. Return whether it was."""
        if connection.caller and connection.caller.expires_at <= time.time():
            connection.close(UNAUTHORIZED, "token_expired")
        elif connection.deadline <= now:
            connection.close(UNAUTHORIZED, "not_authenticated")
        elif connection.ping and connection.pinged_at + connection.ping_interval <= now:
            connection.pinged_at = now
            connection.ping()
        else:
            return False
        return True

    def _count(self, kind: str, name: str | None) -> int:
        return len(self._groups.get((kind, name), ()))

    def _count_in(self, connection: LiveConnection) -> None:
        for key in _keys(connection):
            self._groups.setdefault(key, {})[connection] = None

    def _count_out(self, connection: LiveConnection) -> None:
        for key in _keys(connection):
            group = self._groups.get(key, {})
            group.pop(connection, None)
            if not group:
                self._groups.pop(key, None)


def _keys(connection: LiveConnection) -> list[tuple[str, str | None]]:
    """Return the keys of the groups in which the connection counts."""
    caller = connection.caller
    if caller is None:
        return [("waiting", connection.address)]
    users = [("user", caller.user_id)] if caller.user_id else []
    return [("address", connection.address), *users]
