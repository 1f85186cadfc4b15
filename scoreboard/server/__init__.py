"""The HTTP server of `python wsgi.py`: one thread, one loop, HTTP/1.1 parsed by llhttp.

`listener` accepts connections, `connection` is the state machine of one connection, `request`
parses bytes into WSGI environs, `response` encodes the application's response, `shutdown` stops
the process gracefully.
"""

import gc
import logging
import socket
import sys

import click
from flask import Flask

from ..auth import first_admin
from ..concurrency import runtime
from ..errors import DATABASE_ERRORS
from ..http import addresses
from ..ops import doctor
from ..services import services
from .listener import Listener, listen
from .shutdown import stop, stop_signal

log = logging.getLogger(__name__)

# gc thresholds (gen0, gen1, gen2): a full collection stalls the loop for ~50 ms with 2,000
# connections.
GC_THRESHOLDS = (1000, 2, 100)
# Seconds after which a busy loop hands the GIL to a waiting thread; the default is 5 ms. The thread
# that writes to SQLite needs the GIL about ten times per transaction.
SWITCH_INTERVAL = 0.0005


def run(app: Flask) -> None:
    """Serve until SIGTERM or SIGINT, then stop gracefully. Blocks. Raises SystemExit."""
    doctor.check_start(app, server=runtime.ASYNC_MODE)
    sockets = _listen(app.config["HOST"], app.config["PORT"])
    listener = Listener(sockets, app)
    sys.setswitchinterval(SWITCH_INTERVAL)
    # Objects created at startup are never garbage, and scanning them stalls the loop for 100 ms:
    # https://docs.python.org/3/library/gc.html#gc.freeze
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    stopped = stop_signal()
    _greet(app, sockets)
    listener.start()
    services(app).connections.start()
    for each in sockets:
        host, port = each.getsockname()[:2]
        log.info("serving on http://%s:%s", f"[{host}]" if ":" in host else host, port)
    stopped.wait()
    log.info("stopping")
    stop(app, listener)


def _greet(app: Flask, sockets: list[socket.socket]) -> None:
    """Print the addresses to open, and the link of the first admin if there is none yet.

    They go to standard output, not through the log, which never has a token.
    """
    base = ""  # only the proxy in front of the server knows its address
    if not app.config["DYNO"] and not app.config["TRUSTED_PROXIES"]:
        base, *others = addresses.urls(sockets)
        services(app).network_url = next(iter(others), "")
        click.echo(f"Open {base}")
        for each in others:
            click.echo(f"  or {each} from this network")
    try:
        with app.app_context():
            invitation = first_admin.invite()
    except DATABASE_ERRORS:
        return  # `/readyz` shows it, and the next start prints the link
    if invitation:
        where = "this link" if base else "this path of your site"
        click.echo(
            f"There is no admin yet. Open {where} within 24 hours, choose a password and sign in"
            f" as {invitation.name}:\n  {base}/admin#reset={invitation.token}"
        )


def _listen(host: str | None, port: int | None) -> list[socket.socket]:
    """Return sockets that listen on the configured address. Raises SystemExit if it is in use."""
    if host is None and port is None:
        host = addresses.LOCAL
    port = addresses.DEFAULT_PORT if port is None else port
    try:
        return listen(host, port)
    except OSError as error:
        # `socket.create_server` adds the address to the message of the system.
        problem = (error.strerror or type(error).__name__).partition(" (while")[0]
        where = f"{host or 'all addresses'} port {port}"
        raise SystemExit(f"scoreboard: cannot listen on {where}: {problem}") from None
