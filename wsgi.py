"""The application for every server, and the server of `python wsgi.py`.

`flask run` imports `app` from here and serves it with threads: only as the program itself does
this file patch the standard library for eventlet, and before anything else is imported.
"""

if __name__ == "__main__":
    import warnings

    warnings.filterwarnings("ignore", message="\nEventlet is deprecated")

    import eventlet

    eventlet.monkey_patch()

    import os

    # Else psycopg waits for Postgres below eventlet, and everybody with it.
    os.environ["PSYCOPG_WAIT_FUNC"] = "wait_select"

import contextlib
import gc
import logging
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from scoreboard import audit, create_app, deadlines, doctor, logs
from scoreboard.realtime import transport
from scoreboard.realtime.connections import Connections

app = create_app()
log = logging.getLogger("scoreboard")

MOST_FILES = 100_000
# Files that are not connections of clients: the database, Redis, logs, modules being imported.
RESERVED_FILES = 56
# Of all connections: how many may be live (WebSockets, Socket.IO), so that HTTP keeps a reserve;
# how many one address may have; and how many of these may be live.
LIVE_SHARE, ADDRESS_SHARE, ADDRESS_LIVE_SHARE = 0.75, 0.5, 0.375
EVERYWHERE = "0.0.0.0"  # noqa: S104  # nosec B104  # where a platform routes to
# Well inside the 10 s that platforms grant a process to stop.
STOP_SECONDS = 8
# What clients have sent before they could know arrives within this time, and is answered.
ON_ITS_WAY_SECONDS = 0.5
TURN_SECONDS = 0.02
# New objects before these are searched for garbage, such searches before what they left is, and of
# those before all is, which takes 50 ms for 2,000 connections.
GARBAGE = (1000, 2, 100)
SWITCH_SECONDS = 0.0005
GONE = ("BrokenPipeError", "ConnectionResetError", "TimeoutError")


def main() -> None:
    """Serve until told to stop, on all addresses if PORT says where, else for this machine only."""
    doctor.refuse_what_cannot_work(app, server="eventlet")
    # The thread that writes to SQLite asks for its turn some ten times a transaction, and a busy
    # loop lets go only when asked for this long: by default 5 ms.
    sys.setswitchinterval(SWITCH_SECONDS)
    port = app.config["PORT"]
    where = ("127.0.0.1", 5000) if port is None else (EVERYWHERE, port)
    listener = eventlet.listen(where, backlog=2048, reuse_port=False)
    # Inherited by every connection: small messages leave at once.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    server = _Server(listener)
    # Of what is there already nothing becomes garbage, and to go through it holds everybody up for
    # a tenth of a second: https://docs.python.org/3/library/gc.html#gc.freeze
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE)
    accepting = eventlet.spawn(server.accept)
    _on_signals(lambda: accepting.kill(_Told()))
    log.info("serving on http://%s:%s", *listener.getsockname()[:2])
    accepting.wait()
    log.info("stopping")
    server.finish()


class _Told(Exception):
    """Thrown into what accepts connections when the process is told to stop."""


class _Server:
    """Eventlet's server with an end of its own.

    Eventlet's cuts connections that a request is on its way by, and waits for the rest for ever.
    """

    def __init__(self, listener: Any) -> None:
        from eventlet import wsgi

        self._listener = listener
        self._idle = wsgi.STATE_IDLE
        self._most = _most_connections()
        self._turns = app.extensions["turns"]
        self._open: dict[Any, deadlines.Connection] = {}
        self._addresses: Counter[str] = Counter()
        self._live: Connections = app.extensions["connections"]
        self._live.set_capacity(int(self._most * LIVE_SHARE), int(self._most * ADDRESS_LIVE_SHARE))
        # Behind a proxy all connections come from its address.
        proxied = app.config["TRUSTED_PROXIES"] > 0
        self._most_per_address = self._most if proxied else int(self._most * ADDRESS_SHARE)
        self._head_seconds = deadlines.head_seconds(app.config["TRUSTED_PROXIES"])
        self._http = wsgi.Server(
            listener,
            listener.getsockname(),
            app,
            log=_Log(),
            protocol=deadlines.bounded(wsgi.HttpProtocol, self._turns.take_head),
            debug=False,
            # This server ends every request body where it ends, chunked ones too.
            environ={"wsgi.input_terminated": True},
        )
        # Or it would write a line for every request, which _Log drops.
        self._http.log_output = False

    def accept(self) -> None:
        """Take connections in until told to stop, then those that wait already and no more."""
        eventlet.spawn_n(self._hang_up_on_the_late)
        with contextlib.suppress(_Told):
            while True:
                try:
                    self._take_in(*self._listener.accept())
                except OSError as error:
                    # It has gone, or no file is free for it: no reason to stop for the others.
                    log.warning("a connection was not accepted: %s", error)
                    eventlet.sleep(TURN_SECONDS)
        self._listener.setblocking(False)
        with contextlib.suppress(OSError):
            while True:
                self._take_in(*self._listener.accept())
        self._listener.close()

    def finish(self) -> None:
        """Answer what is in flight and close the WebSockets, within STOP_SECONDS.

        Idle connections are left to end with the process.
        """
        settled = time.monotonic() + ON_ITS_WAY_SECONDS
        deadline = time.monotonic() + STOP_SECONDS
        connections, turns = app.extensions["connections"], self._turns
        # From now on every answer is the last of its connection, and says so.
        self._http.keepalive = False
        connections.stop()
        _wait_until(lambda: not audit.under_way, deadline)
        eventlet.sleep(TURN_SECONDS)  # for the last acknowledgements and messages to leave

        def over() -> bool:
            connections.hang_up_all()  # again and again: some were only half open before
            busy = self._http.outstanding_requests or transport.watched or turns.somebody_waits
            return time.monotonic() > settled and not busy

        _wait_until(over, deadline)
        # SQLite's write-ahead log goes back into the file: whoever copies that has all of it.
        app.extensions["database"].close()
        if self._http.outstanding_requests:
            log.warning("stopped with %s requests unanswered", self._http.outstanding_requests)
            # A proper exit would wait for threads that wait for the database.
            logs.flush()
            os._exit(0)

    def _take_in(self, client: Any, address: Any) -> None:
        while len(self._open) + len(transport.watched) >= self._most:
            self._hang_up_on_the_idle()
            eventlet.sleep(TURN_SECONDS)
        host = address[0]
        if self._addresses[host] + self._live.count(host) >= self._most_per_address:
            # One address must not lock out all others. It makes room itself, for this one or,
            # with no idle connection to close, for the next.
            self._hang_up_on_the_idle(host)
            eventlet.sleep(0)
            if self._addresses[host] + self._live.count(host) > self._most_per_address:
                client.close()
                return
        self._addresses[host] += 1
        self._open[client] = connection = deadlines.Connection(address, client, self._idle)
        if not self._turns.begin(address[0], eventlet.spawn_n, self._serve, client, connection):
            self._end(client, connection)

    def _serve(self, client: Any, connection: deadlines.Connection) -> None:
        try:
            # Whatever the connection itself may raise: the client has gone.
            with contextlib.suppress(OSError):
                self._http.process_request(connection)
        finally:
            self._end(client, connection)

    def _end(self, client: Any, connection: deadlines.Connection) -> None:
        del self._open[client]
        self._addresses.subtract([connection[0][0]])
        if not self._addresses[connection[0][0]]:
            del self._addresses[connection[0][0]]
        connection.hang_up()
        # Closed as such it would stay open as long as there is a file of it, and those whose last
        # words could not be written are kept until garbage is collected.
        if (descriptor := client.fd.detach()) >= 0:
            os.close(descriptor)

    def _hang_up_on_the_late(self) -> None:
        """End every connection that takes too long over something, for as long as there are any."""
        while True:
            eventlet.sleep(1)
            for connection in list(self._open.values()):
                if connection.is_late(time.monotonic(), self._head_seconds):
                    connection.hang_up()
                    transport.give_way()  # or all who came together would end together

    def _hang_up_on_the_idle(self, address: str | None = None) -> None:
        """Make room: close the connections that have been idle longest, all or of an address."""
        idle = [
            each
            for each in self._open.values()
            if each.body is None and not each.is_over and address in (None, each[0][0])
        ]
        idle.sort(key=lambda connection: connection.since)
        for connection in idle[: 1 + self._most // 100]:
            connection.hang_up()


def _on_signals(stop: Callable[[], object]) -> None:
    """Call `stop` at the first SIGTERM or SIGINT.

    A handler that raised would end whatever was running just then, an update say. So the signal
    goes through a pipe to a task that knows whom to end.
    """
    told, tell = socket.socketpair()
    tell.setblocking(False)
    signal.set_wakeup_fd(tell.fileno(), warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)

    def wait() -> None:
        told.recv(1)
        # Or the next signal would be written to whatever has the number of this pipe by then.
        signal.set_wakeup_fd(-1)
        # Platforms may say it twice; a person who does means at once.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        stop()
        tell.fileno()  # keeps the pipe open as long as signals may come

    eventlet.spawn_n(wait)


def _wait_until(true: Callable[[], bool], deadline: float) -> None:
    while not true() and time.monotonic() < deadline:
        eventlet.sleep(TURN_SECONDS)


class _Log:
    """What eventlet's server has to say: its tracebacks as errors, the rest not at all.

    Nor that an answer could not be written because the client has gone, or does not read it.
    """

    def info(self, message: str, *args: object) -> None:
        """Take what the server logs."""
        _, _, last = message.rstrip().rpartition("\n")
        if message.startswith("Traceback") and not last.startswith(GONE):
            logging.getLogger("scoreboard.server").error(message)

    debug = error = info


def _most_connections() -> int:
    """Return how many connections to hold, having asked for as many files as are allowed."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return 20_000
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if most == resource.RLIM_INFINITY else min(most, MOST_FILES)
    with contextlib.suppress(ValueError, OSError):  # macOS allows less than it says
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(files, wanted), most))
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(50, min(files, MOST_FILES) - RESERVED_FILES)


if __name__ == "__main__":
    main()
