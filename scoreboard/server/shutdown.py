"""Stop the process gracefully: finish requests in flight, close WebSockets with code 1012."""

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable

from flask import Flask

from ..concurrency import runtime
from ..observability.logging import flush
from ..services import services
from .listener import Listener

log = logging.getLogger(__name__)

# Seconds; platforms usually allow a process 10 s to stop.
STOP_TIMEOUT = 8
# Seconds in which requests still arrive that clients sent before the listening sockets closed.
IN_FLIGHT_PERIOD = 0.5
POLL_INTERVAL = 0.02


def stop_signal() -> threading.Event:
    """Return an event that is set by the first SIGTERM or SIGINT; a second SIGINT kills.

    A task reads the signal from a socket pair: a handler that raises would interrupt an update.
    """
    stopped = threading.Event()
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)

    def wait() -> None:
        reader.recv(1)
        # Otherwise the next signal is written to the file that reuses this descriptor.
        signal.set_wakeup_fd(-1)
        # Platforms may send SIGTERM twice. A second Ctrl-C means stop at once.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        writer.close()
        stopped.set()

    runtime.spawn(wait)
    return stopped


def stop(app: Flask, listener: Listener) -> None:
    """Finish requests in flight and close the WebSockets, within `STOP_TIMEOUT` seconds.

    Yields to the loop. Ends the process if requests are still unanswered at the deadline.
    """
    listener.stop_accepting()
    now = time.monotonic()
    settled, deadline = now + IN_FLIGHT_PERIOD, now + STOP_TIMEOUT
    connections = services(app).connections
    connections.stopping = True
    _wait_until(lambda: not services(app).attempts_in_progress, deadline)
    runtime.sleep(POLL_INTERVAL)  # send the last acknowledgements and messages

    def is_over() -> bool:
        is_settled = time.monotonic() > settled
        # Repeatedly: handshakes may complete meanwhile, and clients poll for their last messages.
        connections.close_all_transports(wait_for_polls=not is_settled)
        return is_settled and not (listener.unanswered or runtime.watched)

    _wait_until(is_over, deadline)
    services(app).activity.stop()
    # Writes SQLite's write-ahead log back, so that the file is the complete database.
    services(app).database.close()
    if listener.unanswered:
        log.warning("stopped with %s requests unanswered", listener.unanswered)
        # A normal exit would wait for threads that are blocked by the database.
        flush()
        os._exit(0)


def _wait_until(condition: Callable[[], object], deadline: float) -> None:
    while not condition() and time.monotonic() < deadline:
        runtime.sleep(POLL_INTERVAL)
