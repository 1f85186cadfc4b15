"""Tasks, locks, threads and sockets, for both servers: eventlet and native threads.

`python wsgi.py` runs on eventlet, where everything shares one thread and a blocking call blocks
every client; under `flask run` every connection has a thread. This is the only module of the
package that names eventlet.
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

# Bytes read and dropped after the end of a WebSocket, from a client that goes on sending.
MOST_LEFT = 1024 * 1024

WsgiEnvironment = dict[str, Any]


def _is_green() -> bool:
    eventlet = sys.modules.get("eventlet")
    return eventlet is not None and bool(eventlet.patcher.is_monkey_patched("socket"))


ON_EVENTLET = _is_green()
# The native modules, for code that runs in a thread.
threads: Any = threading
queues: Any = queue
if ON_EVENTLET:
    import eventlet
    from eventlet import hubs, patcher, tpool
    from eventlet.support.greenlets import getcurrent, greenlet

    threads = patcher.original("threading")
    queues = patcher.original("queue")
ASYNC_MODE = "eventlet" if ON_EVENTLET else "threading"


def run_in_thread(work: Callable[..., T], *args: Any) -> T:
    """Return `work(*args)`, run in a native thread on eventlet. Blocks only this caller.

    The thread must not use locks or queues of the loop.
    """
    if not ON_EVENTLET:
        return work(*args)
    result: T = tpool.execute(work, *args)
    return result


def resolve(host: str, port: int, timeout: float) -> list[str]:
    """Return the addresses of the host, in the resolver's order.

    Blocks only this caller, on eventlet for `timeout` seconds at most. Raises OSError
    if there is no such host, TimeoutError if no name server answers in time.
    """
    if ON_EVENTLET:
        lookup = patcher.original("socket").getaddrinfo
        with eventlet.Timeout(timeout, TimeoutError()):
            found = run_in_thread(lookup, host, port, 0, socket.SOCK_STREAM)
    else:
        found = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def spawn(work: Callable[..., object], *args: Any) -> None:
    """Start `work(*args)` in a task of its own and return at once. Its exceptions are logged."""

    def guarded() -> None:
        try:
            work(*args)
        except Exception:
            log.exception("background work failed")

    if ON_EVENTLET:
        call_soon(lambda: start(guarded))
    else:
        threading.Thread(target=guarded, daemon=True).start()


def within(seconds: float, work: Callable[..., T], *args: Any) -> T:
    """Return `work(*args)`, run in a task of its own, or raise the exception that it raises.

    Blocks only this caller, for `seconds` at most. Raises TimeoutError after that; the task itself
    continues.
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
    # In halves: after a stall, the loop runs a due timeout before an answer that has arrived.
    if not done.acquire(timeout=seconds / 2) and not done.acquire(timeout=seconds / 2):
        raise TimeoutError
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]


def after(seconds: float, work: Callable[[], object]) -> None:
    """Call `work()` after so many seconds. Returns at once."""
    if ON_EVENTLET:
        eventlet.spawn_after(seconds, work)
    else:
        timer = threading.Timer(seconds, work)
        timer.daemon = True
        timer.start()


def yield_to_loop() -> None:
    """Yield to the loop once, so that other tasks run; does nothing under `flask run`."""
    if ON_EVENTLET:
        suspend(call_soon)


def yielding(things: Iterable[Item], every: int = 100) -> Iterator[Item]:
    """Iterate over a copy of `things`, and yield to the loop after each `every` of them."""
    for number, thing in enumerate(list(things), 1):
        yield thing
        if number % every == 0:
            yield_to_loop()


def call_soon(work: Callable[[], object], seconds: float = 0) -> None:
    """Call `work()` in the next loop iteration, or in the first after so many seconds."""
    hubs.get_hub().schedule_call_global(seconds, work)


def suspend(tell: Callable[[Callable[[], object]], object]) -> None:
    """Call `tell` with a function that resumes this task, and block until it is called."""
    tell(getcurrent().switch)
    hubs.get_hub().switch()


def lock() -> contextlib.AbstractContextManager[Any]:
    """Return a lock for code that never yields: on eventlet, such code needs none."""
    return contextlib.nullcontext() if ON_EVENTLET else threading.Lock()


def detach_socket(environ: WsgiEnvironment, seconds: float) -> tuple[Any, bytes]:
    """Return the socket of this request and the bytes that were read after the request.

    `release` closes the socket. `seconds` is its timeout under `flask run`, where a thread waits
    for it. Raises RuntimeError on another server.
    """
    if "scoreboard.connection" in environ:
        return environ["scoreboard.connection"].detach()
    if "werkzeug.socket" in environ:
        environ["werkzeug.socket"].settimeout(seconds)
        return environ["werkzeug.socket"], b""
    raise RuntimeError("only `python wsgi.py` and `flask run` can serve a WebSocket")


def sender(connection: Any) -> Callable[[bytes], int]:
    """Return a function that sends what the kernel takes at once and returns the byte count.

    It never blocks. It raises BlockingIOError for none, OSError if the connection is gone.
    """
    if ON_EVENTLET or sys.platform == "win32":  # Windows has no os.write to sockets
        send: Callable[[bytes], int] = connection.send
        return send
    # The descriptor of a socket with a timeout is non-blocking; only Python's own `send` waits.
    return lambda data: os.write(connection.fileno(), data)


def send_all(connection: Any, data: bytes) -> None:
    """Send all of `data`. Blocks while the client is slow. Raises OSError if it is gone."""
    if not ON_EVENTLET:
        connection.sendall(data)
        return
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[connection.send(rest) :]
        except BlockingIOError:
            hubs.trampoline(connection, write=True)


def watch(connection: Any, take: Callable[[], bool], ended: Callable[[], object]) -> None:
    """Call `take()` whenever there is data to read, until it returns False; then `ended()`.

    Under `flask run`, blocks until the end. On eventlet, returns at once: an idle connection has no
    stack, which would take more memory than all the rest of it.
    """
    if ON_EVENTLET:
        _Watch(connection, take, ended)
        return
    while take():
        pass
    ended()


def release(connection: Any) -> None:
    """Close a socket from `detach_socket`; the server of `flask run` does that itself."""
    if ON_EVENTLET:
        connection.close()


# Finished tasks that `start` reuses. A new one takes ~8 us, more than the rest of a short request,
# because Python maps memory for its stack.
idle_tasks: list[Any] = []
MAX_IDLE_TASKS = 32


def start(work: Callable[..., object], *args: Any) -> None:
    """Run `work(*args)` in a task of its own; return when it blocks or ends.

    For callbacks of the loop. `work` must not raise.
    """
    task = idle_tasks.pop() if idle_tasks else greenlet(_run_tasks, hubs.get_hub().greenlet)
    task.switch(work, args)


def _run_tasks(work: Callable[..., object], args: tuple[Any, ...]) -> None:
    hub, task = hubs.get_hub(), getcurrent()
    while True:
        work(*args)
        if len(idle_tasks) >= MAX_IDLE_TASKS:
            return
        idle_tasks.append(task)
        work, args = hub.switch()


def sleep(seconds: float) -> None:
    """Yield to the loop for so many seconds. Eventlet only."""
    eventlet.sleep(seconds)


def plain_socket(family: int) -> socket.socket:
    """Return a native TCP socket, which never yields to the loop. Eventlet only."""
    made: socket.socket = patcher.original("socket").socket(family, socket.SOCK_STREAM)
    return made


class SocketWatch:
    """Calls back when a socket is readable or writable. Callbacks must not block. Eventlet only."""

    __slots__ = ("_descriptor", "_hub", "_reading", "_writing")

    def __init__(self, watched: Any) -> None:
        self._descriptor: int = watched.fileno()
        self._hub = hubs.get_hub()
        self._reading: Any = None
        self._writing: Any = None

    def on_readable(self, call: Callable[[], object] | None) -> None:
        """Call `call` whenever there is data to read; None stops that."""
        self._reading = self._replace(self._reading, self._hub.READ, call)

    def on_writable(self, call: Callable[[], object] | None) -> None:
        """Call `call` whenever more can be written; None stops that."""
        self._writing = self._replace(self._writing, self._hub.WRITE, call)

    def close(self) -> None:
        """Stop all calls. Does not close the socket."""
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


# The open connections that eventlet's loop watches.
watched: set["_Watch"] = set()


class _Watch:
    """A connection whose data is read when eventlet's loop reports it."""

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
        """Read in a task, because the loop itself must not block."""
        if self._busy:
            # More data arrived while the task waits for something else: stop listening until then.
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
    """End a request that was answered on its socket, and return the body for the server.

    Under `flask run`, shuts the socket down and raises ConnectionError, as its server expects.
    """
    if "scoreboard.connection" in environ:
        return []
    # The server would parse unread data as another request.
    connection = environ["werkzeug.socket"]
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
        for _ in range(MOST_LEFT // 65536):
            if not connection.recv(65536):
                break
    raise ConnectionError("the WebSocket has ended")
