"""Accept connections and enforce timeouts, capacity and limits per address."""

import contextlib
import functools
import logging
import os
import socket
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from ..concurrency import runtime
from ..http.refusal_limiter import RefusalLimiter
from ..http.request import client_address
from .connection import Connection
from .request import Environ

log = logging.getLogger(__name__)

EVERY_ADDRESS = "0.0.0.0"  # noqa: S104  # nosec B104  # where a platform routes to
BACKLOG = 2048
# Connections accepted per loop iteration and socket, before open ones are served.
MAX_ACCEPTED = 64
ACCEPT_PAUSE = 0.05  # seconds, after a failed accept: usually no file descriptor is free
SWEEP_INTERVAL = 1.0  # seconds between two checks of timeouts
# Seconds for the head of a request, from its first byte; and for an idle connection. Proxies keep
# idle connections (Heroku's router for 90 s) and must be the side that closes them:
# https://devcenter.heroku.com/articles/http-routing#keepalives
HEAD_TIMEOUT, HEAD_TIMEOUT_BEHIND_PROXY = 30, 95
MAX_FILES = 100_000
# File descriptors for other uses than client connections: database, Redis, logs, imports.
RESERVED_FILES = 56
# Shares of the capacity: for live connections (WebSocket, Socket.IO), so that HTTP keeps a reserve;
# for all connections of one address; and for the live connections of one address.
LIVE_SHARE, ADDRESS_SHARE, ADDRESS_LIVE_SHARE = 0.75, 0.5, 0.375


class Listener:
    """The server: its listening sockets, its connections, and their shared settings."""

    def __init__(
        self,
        sockets: list[socket.socket],
        application: Callable[..., Any],
        *,
        live: Any,
        limiter: RefusalLimiter,
        behind_proxy: bool,
        max_body_size: int,
    ) -> None:
        """Create a server for `application`; `live` counts the live connections by address."""
        self.application = application
        self.limiter = limiter
        self.max_body_size = max_body_size
        self.head_timeout = HEAD_TIMEOUT_BEHIND_PROXY if behind_proxy else HEAD_TIMEOUT
        self.stopping = False
        self._sockets = sockets
        self._watches = [runtime.SocketWatch(each) for each in sockets]
        self._connections: set[Connection] = set()
        self._addresses: Counter[str] = Counter()
        self._live = live
        self._behind_proxy = behind_proxy
        self._capacity = capacity()
        live.set_capacity(
            int(self._capacity * LIVE_SHARE), int(self._capacity * ADDRESS_LIVE_SHARE)
        )
        host, port = sockets[0].getsockname()[:2]
        self.environ: Environ = {
            "SERVER_NAME": host,
            "SERVER_PORT": str(port),
            "SCRIPT_NAME": "",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.errors": None,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            # Bodies are read completely, so `wsgi.input` always has an end, also when chunked.
            "wsgi.input_terminated": True,
        }

    def start(self) -> None:
        """Start to accept connections and to enforce timeouts. Returns at once."""
        self._resume_accepting()
        runtime.spawn(self._close_timed_out)

    def stop_accepting(self) -> None:
        """Accept the connections in the backlog, then close the listening sockets."""
        self.stopping = True
        for listening, watch in zip(self._sockets, self._watches, strict=True):
            watch.close()
            self._accept(listening, BACKLOG)
            listening.close()

    @property
    def unanswered(self) -> int:
        """The number of connections whose response is not sent yet."""
        return sum(each.is_answering for each in self._connections)

    def forget(self, connection: Connection) -> None:
        """Remove a connection that is closed or detached."""
        self._connections.discard(connection)
        self._addresses[connection.address] -= 1
        if self._addresses[connection.address] <= 0:
            del self._addresses[connection.address]

    def _accept(self, listening: socket.socket, most: int = MAX_ACCEPTED) -> None:
        for _ in range(most):
            try:
                client, address = listening.accept()
            except BlockingIOError:
                return
            except OSError as error:
                log.warning("a connection was not accepted: %s", error)
                self._pause()
                return
            self._admit(client, client_address(address[0]) or address[0])

    def _pause(self) -> None:
        for watch in self._watches:
            watch.on_readable(None)
        runtime.after(ACCEPT_PAUSE, self._resume_accepting)

    def _resume_accepting(self) -> None:
        if not self.stopping:
            for listening, watch in zip(self._sockets, self._watches, strict=True):
                watch.on_readable(functools.partial(self._accept, listening))

    def _admit(self, client: socket.socket, address: str) -> None:
        if not self._has_room(address):
            client.close()
            return
        client.setblocking(False)
        self._addresses[address] += 1
        self._connections.add(Connection(self, client, address))

    def _has_room(self, address: str) -> bool:
        """Return whether another connection fits, after closing idle ones if necessary."""
        if self._behind_proxy:  # all connections come from its address
            return self._make_room(None, self._capacity)
        if self.limiter.is_blocked(address):
            return False
        most = int(self._capacity * ADDRESS_SHARE)
        return self._make_room(address, most) and self._make_room(None, self._capacity)

    def _make_room(self, address: str | None, most: int) -> bool:
        if self._count(address) < most:
            return True
        idle = [
            each for each in self._connections if each.is_idle and address in (None, each.address)
        ]
        idle.sort(key=lambda each: each.since)
        for each in idle[: 1 + most // 100]:
            each.close()
        return self._count(address) < most

    def _count(self, address: str | None) -> int:
        if address is None:
            return len(self._connections) + len(runtime.watched)
        return self._addresses[address] + int(self._live.count(address))

    def _close_timed_out(self) -> None:
        while True:
            runtime.sleep(SWEEP_INTERVAL)
            now = time.monotonic()
            for number, connection in enumerate(list(self._connections), 1):
                if connection.is_timed_out(now):
                    connection.close()
                if number % 100 == 0:
                    runtime.yield_to_loop()


def listen(host: str | None, port: int) -> list[socket.socket]:
    """Return sockets that listen on `host`, or on all addresses if it is None.

    Resolves the name, which may block. Raises OSError.
    """
    sockets = []
    try:
        if host is None:
            sockets.append(_listening(socket.AF_INET, (EVERY_ADDRESS, port)))
            port = sockets[0].getsockname()[1]
            with contextlib.suppress(OSError):  # a machine without IPv6
                if socket.has_ipv6:
                    sockets.append(_listening(socket.AF_INET6, ("::", port)))
        else:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            for family, *_, address in dict.fromkeys(found):
                sockets.append(_listening(family, (str(address[0]), port)))
    except OSError:
        for each in sockets:
            each.close()
        raise
    return sockets


def _listening(family: int, address: tuple[str, int]) -> socket.socket:
    listening = runtime.plain_socket(family)
    try:
        if os.name == "posix":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # Inherited by every connection: small messages are sent without delay.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    listening.setblocking(False)
    return listening


def capacity() -> int:
    """Raise the limit of open files as far as allowed; return how many connections fit."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return 20_000
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if most == resource.RLIM_INFINITY else min(most, MAX_FILES)
    with contextlib.suppress(ValueError, OSError):  # macOS allows less than the limit it reports
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(files, wanted), most))
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(50, min(files, MAX_FILES) - RESERVED_FILES)
