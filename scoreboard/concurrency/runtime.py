"""Bytes to sockets, and work off the loop: what differs between the two servers.

`python wsgi.py` runs eventlet's server, where everything shares one thread and whatever blocks
it blocks everyone; under `flask run` every connection has a thread. This is the one module of
the package that names eventlet.
"""

import contextlib
import logging
import os
import queue
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")
Item = TypeVar("Item")
log = logging.getLogger(__name__)

# What is read of a connection that has ended, from one who goes on sending.
MOST_LEFT = 1024 * 1024

WsgiEnvironment = dict[str, Any]


def _is_green() -> bool:
    eventlet = sys.modules.get("eventlet")
    return eventlet is not None and bool(eventlet.patcher.is_monkey_patched("socket"))


GREEN = _is_green()
# The threads, locks and queues of native threads, for work off the loop.
threads: Any = threading
queues: Any = queue
if GREEN:
    import eventlet
    from eventlet import hubs, patcher, tpool
    from eventlet.support.greenlets import getcurrent, greenlet

    threads = patcher.original("threading")
    queues = patcher.original("queue")
ASYNC_MODE = "eventlet" if GREEN else "threading"


def off_loop(work: Callable[..., T], *args: Any) -> T:
    """Return `work(*args)`, run where it blocks nobody.

    On eventlet that is a real thread, in which locks and queues of the loop must not be used.
    """
    if not GREEN:
        return work(*args)
    result: T = tpool.execute(work, *args)
    return result


def resolve(host: str, port: int, timeout: float) -> list[str]:
    """Return the addresses of the host, in the resolver's order.

    Blocks this caller alone, for `timeout` seconds at most where the loop serves. Raises OSError
    if there is no such host, TimeoutError if no name server answers in time.
    """
    if GREEN:
        lookup = patcher.original("socket").getaddrinfo
        with eventlet.Timeout(timeout, TimeoutError()):
            found = off_loop(lookup, host, port, 0, socket.SOCK_STREAM)
    else:
        found = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def spawn(work: Callable[..., object], *args: Any) -> None:
    """Start `work(*args)` beside everything else. What it raises is logged."""

    def guarded() -> None:
        try:
            work(*args)
        except Exception:
            log.exception("background work failed")

    if GREEN:
        at_next_turn(lambda: start(guarded))
    else:
        threading.Thread(target=guarded, daemon=True).start()


def within(seconds: float, work: Callable[..., T], *args: Any) -> T:
    """Return `work(*args)`, run in a task of its own.

    Blocks this caller alone, for `seconds` at most. Raises TimeoutError after that; the task itself
    goes on.
    """
    outcome: list[T | Exception] = []
    done = threading.Lock()  # acquiring it twice is the cheapest way to wait
    done.acquire()

    def run() -> None:
        try:
            outcome.append(work(*args))
        except Exception as error:
            outcome.append(error)
        finally:
            done.release()

    spawn(run)
    # In halves: after a stall of the loop, a timeout comes before an answer that has arrived.
    if not done.acquire(timeout=seconds / 2) and not done.acquire(timeout=seconds / 2):
        raise TimeoutError
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]


def after(seconds: float, work: Callable[[], object]) -> None:
    """Call `work()` once the seconds have passed."""
    if GREEN:
        eventlet.spawn_after(seconds, work)
    else:
        timer = threading.Timer(seconds, work)
        timer.daemon = True
        timer.start()


def give_way() -> None:
    """Let everybody else have a turn, who would wait for us to wait for something."""
    if GREEN:
        suspend(at_next_turn)


def yielding(things: Iterable[Item], every: int = 100) -> Iterator[Item]:
    """Go through the things there are now, and yield to the loop after each `every` of them."""
    for number, thing in enumerate(list(things), 1):
        yield thing
        if number % every == 0:
            give_way()


def at_next_turn(work: Callable[[], object], seconds: float = 0) -> None:
    """Call `work()` in the next turn of the loop, or in the first after so many seconds."""
    hubs.get_hub().schedule_call_global(seconds, work)


def suspend(tell: Callable[[Callable[[], object]], object]) -> None:
    """Tell how to go on here, and wait until the loop is told to."""
    tell(getcurrent().switch)
    hubs.get_hub().switch()


def lock() -> contextlib.AbstractContextManager[Any]:
    """Return a lock for what never waits inside: where nobody is interrupted, none is needed."""
    return contextlib.nullcontext() if GREEN else threading.Lock()


def take_over(environ: WsgiEnvironment, seconds: float) -> tuple[Any, bytes]:
    """Return the socket that this request came in by, and what was read of it since the request.

    It is closed by `release`. `seconds` is how long it may be silent where a thread waits for it.
    Raises RuntimeError on another server.
    """
    if "scoreboard.connection" in environ:
        return environ["scoreboard.connection"].detach()
    if "werkzeug.socket" in environ:
        environ["werkzeug.socket"].settimeout(seconds)
        return environ["werkzeug.socket"], b""
    raise RuntimeError("only `python wsgi.py` and `flask run` can serve a WebSocket")


def sender(connection: Any) -> Callable[[bytes], int]:
    """Return what sends what the kernel takes at once, and tells how many bytes that was.

    It never waits. It raises BlockingIOError for none, OSError if the connection is gone.
    """
    if GREEN or sys.platform == "win32":  # waits there: Windows writes to sockets in no other way
        send: Callable[[bytes], int] = connection.send
        return send
    # Sockets with a timeout are non-blocking below, and Python's own send waits on top.
    return lambda data: os.write(connection.fileno(), data)


def send_all(connection: Any, data: bytes) -> None:
    """Send all of it, waiting for the other side. Raises OSError if the connection is gone."""
    if not GREEN:
        connection.sendall(data)
        return
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[connection.send(rest) :]
        except BlockingIOError:
            hubs.trampoline(connection, write=True)


def watch(connection: Any, take: Callable[[], bool], ended: Callable[[], object]) -> None:
    """Call `take()` whenever there is something to read, until it returns False; then `ended()`.

    Under `flask run` this returns at the end. On eventlet it returns at once: a connection that
    nothing comes by has no stack of its own, which would take more memory than all the rest.
    """
    if GREEN:
        _Watch(connection, take, ended)
        return
    while take():
        pass
    ended()


def release(connection: Any) -> None:
    """Close a socket that was taken over; the server of `flask run` does that itself."""
    if GREEN:
        connection.close()


# Finished tasks that `start` uses again. Starting a new one takes ~8 us, more than all else of a
# short request: Python maps memory for its stack.
_idle_tasks: list[Any] = []
MAX_IDLE_TASKS = 32


def start(work: Callable[..., object], *args: Any) -> None:
    """Run `work(*args)` in a task of its own, now, until it blocks. For callbacks of the loop.

    `work` must not raise.
    """
    task = _idle_tasks.pop() if _idle_tasks else greenlet(_run_tasks, hubs.get_hub().greenlet)
    task.switch(work, args)


def _run_tasks(work: Callable[..., object], args: tuple[Any, ...]) -> None:
    hub, task = hubs.get_hub(), getcurrent()
    while True:
        work(*args)
        if len(_idle_tasks) >= MAX_IDLE_TASKS:
            return
        _idle_tasks.append(task)
        work, args = hub.switch()


def sleep(seconds: float) -> None:
    """Yield to the loop for that long."""
    eventlet.sleep(seconds)


def plain_socket(family: int) -> socket.socket:
    """Return a TCP socket that knows nothing of the loop."""
    made: socket.socket = patcher.original("socket").socket(family, socket.SOCK_STREAM)
    return made


class SocketWatch:
    """Calls back when a socket can be read from, or written to. Callbacks must not block."""

    __slots__ = ("_descriptor", "_hub", "_reading", "_writing")

    def __init__(self, watched: Any) -> None:
        self._descriptor: int = watched.fileno()
        self._hub = hubs.get_hub()
        self._reading: Any = None
        self._writing: Any = None

    def on_readable(self, call: Callable[[], object] | None) -> None:
        """Call this from now on whenever there is something to read, or nothing if None."""
        self._reading = self._replace(self._reading, self._hub.READ, call)

    def on_writable(self, call: Callable[[], object] | None) -> None:
        """Call this from now on whenever more can be written, or nothing if None."""
        self._writing = self._replace(self._writing, self._hub.WRITE, call)

    def close(self) -> None:
        """Call nothing more."""
        self.on_readable(None)
        self.on_writable(None)

    def _replace(self, listener: Any, kind: str, call: Callable[[], object] | None) -> Any:
        if listener is not None:
            self._hub.remove(listener)
        if call is None:
            return None
        return self._hub.add(
            kind, self._descriptor, lambda _: _guarded(call), lambda error: None, None
        )


def _guarded(call: Callable[[], object]) -> None:
    try:
        call()
    except Exception:
        log.exception("a callback of the loop failed")


# What is watched on eventlet, and not closed yet.
watched: set["_Watch"] = set()


class _Watch:
    """A connection that eventlet's loop watches."""

    __slots__ = ("_busy", "_connection", "_ended", "_hub", "_listener", "_take")

    def __init__(
        self, connection: Any, take: Callable[[], bool], ended: Callable[[], object]
    ) -> None:
        self._connection = connection
        self._take = take
        self._ended = ended
        self._hub = hubs.get_hub()
        self._busy = False
        watched.add(self)
        self._listen()

    def _listen(self) -> None:
        self._listener = self._hub.add(
            self._hub.READ, self._connection.fileno(), self._ready, lambda error: None, None
        )

    def _ready(self, descriptor: int) -> None:
        """Read in a task, for the loop itself must not wait."""
        if self._busy:
            # There is more while the task still waits for something else.
            self._ignore()
            return
        self._busy = True
        start(self._work)

    def _ignore(self) -> None:
        if self._listener:
            self._hub.remove(self._listener)
            self._listener = None

    def _work(self) -> None:
        try:
            more = self._take()
        except Exception:
            log.exception("reading from a connection failed")
            more = False
        self._busy = False
        if more:
            if self._listener is None:
                self._listen()
            return
        self._ignore()
        watched.discard(self)
        try:
            self._ended()
        except Exception:
            log.exception("the end of a connection failed")


def finish(environ: WsgiEnvironment) -> list[bytes]:
    """Tell the server that the handler has answered on the socket itself, and that it is done.

    Raises ConnectionError under `flask run`: that is how its server is told.
    """
    if "scoreboard.connection" in environ:
        return []
    # Or its server would take what is left to read for another request.
    connection = environ["werkzeug.socket"]
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
        for _ in range(MOST_LEFT // 65536):
            if not connection.recv(65536):
                break
    raise ConnectionError("the WebSocket has ended")
