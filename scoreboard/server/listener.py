"""Accept connections and enforce timeouts, capacity and limits per address."""

import contextlib
import functools
import logging
import socket
import time
from collections import Counter
from wsgiref.types import WSGIEnvironment

from flask import Flask

from ..concurrency import runtime
from ..http.request import client_address
from ..services import services
from .connection import HttpConnection

log = logging.getLogger(__name__)

EVERY_ADDRESS = "0.0.0.0"  # noqa: S104  # nosec B104  # where a platform routes to
BACKLOG = 2048
# Connections accepted per loop iteration and socket, before open connections are served.
MAX_ACCEPTED = 64
ACCEPT_PAUSE = 0.05  # seconds, after a failed accept: usually no file descriptor is free
TIMEOUT_CHECK_INTERVAL = 1.0  # seconds
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
    """The server of one application: its listening sockets, and its connections."""

    def __init__(self, sockets: list[socket.socket], app: Flask) -> None:
        self.application = app
        self.limiter = services(app).refusal_limiter
        self.max_body_size = app.config["MAX_BATCH_CONTENT_LENGTH"]
        self.stopping = False
        self._behind_proxy = app.config["TRUSTED_PROXIES"] > 0
        self.head_timeout = HEAD_TIMEOUT_BEHIND_PROXY if self._behind_proxy else HEAD_TIMEOUT
        self._sockets = {each: runtime.SocketWatch(each) for each in sockets}
        self._connections: set[HttpConnection] = set()
        self._by_address: Counter[str] = Counter()
        self._capacity = capacity()
        self._live = services(app).connections
        self._live.set_capacity(
            int(self._capacity * LIVE_SHARE), int(self._capacity * ADDRESS_LIVE_SHARE)
        )
        host, port = sockets[0].getsockname()[:2]
        self.environ: WSGIEnvironment = {
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
        for listening, watch in self._sockets.items():
            watch.close()
            self._accept(listening, BACKLOG)
            listening.close()

    @property
    def unanswered(self) -> int:
        """The number of connections whose response is not sent yet."""
        return sum(each.is_responding for each in self._connections)

    def remove(self, connection: HttpConnection) -> None:
        """Remove a connection that is closed or detached."""
        self._connections.discard(connection)
        self._by_address[connection.address] -= 1
        if self._by_address[connection.address] <= 0:
            del self._by_address[connection.address]

    def _accept(self, listening: socket.socket, max_accepted: int = MAX_ACCEPTED) -> None:
        for _ in range(max_accepted):
            try:
                client, (host, *_) = listening.accept()
            except BlockingIOError:
                return
            except OSError as error:
                log.warning("a connection was not accepted: %s", error)
                for watch in self._sockets.values():
                    watch.on_readable(None)
                runtime.after(ACCEPT_PAUSE, self._resume_accepting)
                return
            address = client_address(host) or host
            if not self._admits(address):
                client.close()
                continue
            client.setblocking(False)
            self._by_address[address] += 1
            self._connections.add(HttpConnection(self, client, address))

    def _resume_accepting(self) -> None:
        if not self.stopping:
            for listening, watch in self._sockets.items():
                watch.on_readable(functools.partial(self._accept, listening))

    def _admits(self, address: str) -> bool:
        """Close idle connections if necessary; return whether another connection fits."""
        if not self._behind_proxy:  # all connections come from the proxy's address
            max_of_address = int(self._capacity * ADDRESS_SHARE)
            if self.limiter.is_blocked(address) or not self._reserve(max_of_address, address):
                return False
        return self._reserve(self._capacity)

    def _reserve(self, limit: int, address: str | None = None) -> bool:
        if self._count(address) < limit:
            return True
        idle = [c for c in self._connections if c.is_idle and address in (None, c.address)]
        idle.sort(key=lambda c: c.since)
        for each in idle[: 1 + limit // 100]:
            each.close()
        return self._count(address) < limit

    def _count(self, address: str | None) -> int:
        if address is None:
            return len(self._connections) + len(runtime.watched)
        return self._by_address[address] + self._live.count(address)

    def _close_timed_out(self) -> None:
        while True:
            runtime.sleep(TIMEOUT_CHECK_INTERVAL)
            now = time.monotonic()
            for connection in runtime.yielding(self._connections):
                if connection.is_timed_out(now):
                    connection.close()


def listen(host: str | None, port: int) -> list[socket.socket]:
    """Return sockets that listen on `host`, or on all addresses if it is None. Raises OSError."""
    if host is not None:
        found = dict.fromkeys(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        return [_listening(family, str(address[0]), port) for family, *_, address in found]
    sockets = [_listening(socket.AF_INET, EVERY_ADDRESS, port)]
    port = sockets[0].getsockname()[1]
    with contextlib.suppress(OSError):  # a machine without IPv6
        sockets.append(_listening(socket.AF_INET6, "::", port))
    return sockets


def _listening(family: int, address: str, port: int) -> socket.socket:
    listening = runtime.create_server((address, port), family=family, backlog=BACKLOG)
    # Inherited by every connection: small messages are sent without delay.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def capacity() -> int:
    """Raise the limit of open files as far as allowed; return how many connections fit."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return 20_000
    files, max_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if max_files == resource.RLIM_INFINITY else min(max_files, MAX_FILES)
    with contextlib.suppress(ValueError, OSError):  # macOS allows less than the limit it reports
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(files, wanted), max_files))
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(50, min(files, MAX_FILES) - RESERVED_FILES)
