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

from scoreboard import create_app

app = create_app()


def main() -> None:
    """Serve until interrupted, on all addresses if PORT says where, else for this machine only."""
    import logging
    import socket

    from eventlet import wsgi

    port = app.config["PORT"]
    listener = eventlet.listen(
        ("127.0.0.1", 5000) if port is None else ("0.0.0.0", port),  # noqa: S104 - the platform routes to it backlog=2048, reuse_port=False
    )
    # Inherited by every connection: small messages leave at once.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    host, port = listener.getsockname()[:2]
    logging.getLogger("scoreboard").info("serving on http://%s:%s", host, port)
    wsgi.server(
        listener,
        app,
        log=_Log(),
        log_format="",
        max_size=_most_connections(),
        # Seconds until a silent client is let go: between requests, and within one.
        keepalive=75,
        socket_timeout=30,
        debug=False,
        # This server ends every request body where it ends, chunked ones too.
        environ={"wsgi.input_terminated": True},
    )


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
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return max(100, min(most - 200, 100_000))


if __name__ == "__main__":
    main()
