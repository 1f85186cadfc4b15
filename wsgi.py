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
from collections.abc import Callable

from scoreboard import audit, create_app

app = create_app()

MOST_FILES = 100_000
EVERYWHERE = "0.0.0.0"  # noqa: S104 - where a platform routes to
# Together well inside the 10 s that platforms grant a process to stop.
SECONDS_TO_ANSWER = 4
SECONDS_TO_CLOSE = 4


def main() -> None:
    """Serve until told to stop, on all addresses if PORT says where, else for this machine only."""
    import logging
    import socket

    from eventlet import wsgi

    from scoreboard import doctor

    doctor.refuse_what_cannot_work(app, server="eventlet")
    port = app.config["PORT"]
    listener = eventlet.listen(
        ("127.0.0.1", 5000) if port is None else (EVERYWHERE, port),
        backlog=2048,
        reuse_port=False,
    )
    # Inherited by every connection: small messages leave at once.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    _stop_on_signals()
    host, port = listener.getsockname()[:2]
    logging.getLogger("scoreboard").info("serving on http://%s:%s", host, port)
    wsgi.server(
        listener,
        app,
        log=_Log(),
        log_format="",
        custom_pool=_pool(listener),
        # Seconds until a silent client is let go: between requests, and within one.
        keepalive=75,
        socket_timeout=30,
        debug=False,
        # This server ends every request body where it ends, chunked ones too.
        environ={"wsgi.input_terminated": True},
    )


def _stop_on_signals() -> None:
    """End the loop that accepts connections at the first SIGTERM or SIGINT.

    A handler that raised would end whatever was running just then, an update say. So the signal
    goes through a pipe to a task that knows whom to end.
    """
    import signal
    import socket

    accepting = eventlet.getcurrent()
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)

    def wait() -> None:
        reader.recv(1)
        eventlet.kill(accepting, SystemExit())
        writer.fileno()  # keeps the pipe open as long as signals may come

    eventlet.spawn_n(wait)


def _pool(listener: "eventlet.greenio.GreenSocket") -> "eventlet.GreenPool":
    """Return the pool that connections are served from, which the server waits for at its end."""

    class Pool(eventlet.GreenPool):
        def waitall(self) -> None:
            """Answer what is in flight, close the rest so that clients come back; never hang."""
            listener.close()
            _wait_until(lambda: not audit.under_way, SECONDS_TO_ANSWER)
            eventlet.sleep(0.1)  # what was just published is on its way to the viewers
            app.extensions["connections"].hang_up_all()
            _wait_until(lambda: not self.running(), SECONDS_TO_CLOSE)

    return Pool(_most_connections())


def _wait_until(true: Callable[[], bool], seconds: float) -> None:
    for _ in range(int(seconds / 0.02)):
        if true():
            return
        eventlet.sleep(0.02)


class _Log:
    """What eventlet's server has to say: its tracebacks as errors, the rest not at all."""

    def info(self, message: str, *args: object) -> None:
        """Take what the server logs."""
        import logging

        if message.startswith("Traceback"):
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
    return max(100, min(files, MOST_FILES) - 200)


if __name__ == "__main__":
    main()
