"""Bytes to sockets, and work off the loop: what differs between the two servers.

`python wsgi.py` runs eventlet's server, where everything shares one thread and whatever blocks
it blocks everyone; under `flask run` every connection has a thread. This is the one module of
the package that names eventlet.
"""

import contextlib
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from flask import Flask

T = TypeVar("T")
log = logging.getLogger(__name__)

# What is read of a connection that has ended, from one who goes on sending.
MOST_LEFT = 1024 * 1024

WsgiEnvironment = dict[str, Any]


def _is_green() -> bool:
    eventlet = sys.modules.get("eventlet")
    return eventlet is not None and bool(eventlet.patcher.is_monkey_patched("socket"))


GREEN = _is_green()
ASYNC_MODE = "eventlet" if GREEN else "threading"


def off_loop(work: Callable[..., T], *args: Any) -> T:
    """Return `work(*args)`, run where it blocks nobody.

    On eventlet that is a real thread, in which locks and queues of the loop must not be used.
    """
    if not GREEN:
        return work(*args)
    from eventlet import tpool

    result: T = tpool.execute(work, *args)
    return result


def spawn(work: Callable[..., object], *args: Any) -> None:
    """Start `work(*args)` beside everything else. What it raises is logged."""

    def guarded() -> None:
        try:
            work(*args)
        except Exception:
            log.exception("background work failed")

    if GREEN:
        import eventlet

        eventlet.spawn_n(guarded)
    else:
        threading.Thread(target=guarded, daemon=True).start()


def after(seconds: float, work: Callable[[], object]) -> None:
    """Call `work()` once the seconds have passed."""
    if GREEN:
        import eventlet

        eventlet.spawn_after(seconds, work)
    else:
        timer = threading.Timer(seconds, work)
        timer.daemon = True
        timer.start()


def give_way() -> None:
    """Let everybody else have a turn; who always has something to read would never wait."""
    if GREEN:
        import eventlet

        eventlet.sleep(0)


def socket_of(environ: WsgiEnvironment) -> Any:
    """Return the socket that this request came in by. Raises RuntimeError on another server."""
    if "eventlet.input" in environ:
        return environ["eventlet.input"].get_socket()
    if "werkzeug.socket" in environ:
        return environ["werkzeug.socket"]
    raise RuntimeError("only `python wsgi.py` and `flask run` can serve a WebSocket")


def send_now(connection: Any, data: bytes) -> int:
    """Send what the kernel takes at once and return how many bytes that was.

    Never waits. Raises OSError if the connection is gone.
    """
    try:
        if GREEN:
            # The green socket would wait for room; the one below it says that there is none.
            return int(connection.fd.send(data))
        if sys.platform == "win32":
            return int(connection.send(data))  # waits: Windows writes to sockets in no other way
        # Sockets with a timeout are non-blocking below, and Python's own send waits on top.
        return os.write(connection.fileno(), data)
    except BlockingIOError:
        return 0


def finish(environ: WsgiEnvironment) -> list[bytes]:
    """Tell the server that the handler has answered on the socket itself, and that it is done.

    Raises ConnectionError under `flask run`: that is how its server is told.
    """
    if "eventlet.input" in environ:
        from eventlet import wsgi

        wsgi.WSGI_LOCAL.already_handled = True
        return []
    # Or its server would take what is left to read for another request.
    connection = environ["werkzeug.socket"]
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
        for _ in range(MOST_LEFT // 65536):
            if not connection.recv(65536):
                break
    raise ConnectionError("the WebSocket has ended")


def use_websockets(app: Flask, driver: type) -> None:
    """Have Engine.IO speak WebSocket by this driver, the same one on both servers.

    The library's own drivers negotiate compression with every browser and keep a compressor for
    each; one of them bounds a frame but not a message, the other loses what the kernel does not
    take at once. python-engineio has no public way to choose, hence the internal table.
    """
    engine = app.extensions["socketio"].server.eio
    engine._async = {**engine._async, "websocket": driver}
