"""Ends the process gracefully: requests in flight are answered, WebSockets closed with 1012."""

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable

from flask import Flask

from ..concurrency import runtime as transport
from ..observability import audit
from ..observability import logging as logs
from .listener import Listener

log = logging.getLogger(__name__)

# Well inside the 10 s that platforms grant a process to stop.
STOP_TIMEOUT = 8
# What clients have sent before they could know arrives within this time, and is answered.
IN_FLIGHT_TIME = 0.5
POLL_INTERVAL = 0.02


def stop_signal() -> threading.Event:
    """Return an event that is set by the first SIGTERM or SIGINT; a second SIGINT ends at once.

    A handler that raised would end whatever was running just then, an update say. So the signal
    goes through a pipe to a task of the loop.
    """
    stopped = threading.Event()
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)

    def wait() -> None:
        reader.recv(1)
        # Or the next signal would be written to whatever has the number of this pipe by then.
        signal.set_wakeup_fd(-1)
        # Platforms may signal twice; a person who does means at once.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        writer.close()
        stopped.set()

    transport.spawn(wait)
    return stopped


def stop(app: Flask, listener: Listener) -> None:
    """Answer what is in flight and close the WebSockets, within STOP_TIMEOUT seconds.

    Idle connections are left to end with the process.
    """
    listener.stop_accepting()
    settled = time.monotonic() + IN_FLIGHT_TIME
    deadline = time.monotonic() + STOP_TIMEOUT
    connections = app.extensions["connections"]
    connections.stop()
    _wait_until(lambda: not audit.under_way, deadline)
    transport.sleep(POLL_INTERVAL)  # for the last acknowledgements and messages to leave

    def is_over() -> bool:
        connections.hang_up_all()  # again and again: some were only half open before
        busy = listener.unanswered or transport.watched
        return time.monotonic() > settled and not busy

    _wait_until(is_over, deadline)
    # SQLite's write-ahead log goes back into the file, which is then the whole database.
    app.extensions["database"].close()
    if listener.unanswered:
        log.warning("stopped with %s requests unanswered", listener.unanswered)
        # A proper exit would wait for threads that wait for the database.
        logs.flush()
        os._exit(0)


def _wait_until(condition: Callable[[], object], deadline: float) -> None:
    while not condition() and time.monotonic() < deadline:
        transport.sleep(POLL_INTERVAL)
