"""Tasks, locks, threads and sockets, for both servers: eventlet and native threads.

`python wsgi.py` runs on eventlet, where everything shares one thread and a blocking call blocks
every client; under `flask run` every connection has a thread. This is the only module of the
package that names eventlet. It uses these undocumented names, checked with eventlet 0.41 and
guarded by `tests/concurrency/eventlet_hub.py`:

- `hub.add`, `hub.remove`, `hub.READ`, `hub.WRITE`: a listener stays until it is removed, may be
  added beside a task that waits for the same socket, and is called by the hub itself;
- `hub.schedule_call_global`, `hub.switch`, `hub.greenlet`;
- `eventlet.support.greenlets`.
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
from wsgiref.types import WSGIEnvironment

T = TypeVar("T")
Item = TypeVar("Item")
log = logging.getLogger(__name__)

# Bytes to read and drop after the end of a WebSocket, from a client that continues to send.
MAX_DISCARDED = 1024 * 1024
MAX_IDLE_TASKS = 32

_imported: Any = sys.modules.get("eventlet")
ON_EVENTLET: bool = bool(_imported) and _imported.patcher.is_monkey_patched("socket")
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


class Signal:
    """Wakes the one task or thread that waits for it, once. A lock is the cheapest way to wait."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def wait(self, timeout: float = -1) -> bool:
        """Block until `set` is called, or for `timeout` seconds; return whether it was called."""
        return self._lock.acquire(timeout=timeout)

    def set(self) -> None:
        """Wake the waiting task; if none waits yet, its `wait` returns at once."""
        self._lock.release()


def run_in_thread(work: Callable[..., T], *args: Any) -> T:
    """Return `work(*args)`, run in a native thread on eventlet; it must not use green locks."""
    if not ON_EVENTLET:
        return work(*args)
    return tpool.execute(work, *args)


def resolve(host: str, port: int, timeout: float) -> list[str]:
    """Return the addresses of the host, in the resolver's order. Blocks only this caller.

    Raises OSError if there is no such host and, on eventlet, TimeoutError after `timeout` seconds.
    """
    if ON_EVENTLET:
        lookup = patcher.original("socket").getaddrinfo
        with time_limit(timeout):
            found = run_in_thread(lookup, host, port, 0, socket.SOCK_STREAM)
    else:
        found = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def time_limit(seconds: float) -> contextlib.AbstractContextManager[Any]:
    """Return a context that raises TimeoutError after `seconds`; one without limit on threads."""
    if not ON_EVENTLET:
        return contextlib.nullcontext()
    limit: contextlib.AbstractContextManager[Any] = eventlet.Timeout(seconds, TimeoutError())
    return limit


def spawn(work: Callable[..., object], *args: Any) -> None:
    """Start `work(*args)` in a new task and return at once. Its exceptions are logged."""
    if ON_EVENTLET:
        call_soon(lambda: start(_logged, work, *args))
    else:
        threading.Thread(target=_logged, args=(work, *args), daemon=True).start()


def _logged(work: Callable[..., T], *args: Any) -> T | None:
    try:
        return work(*args)
    except Exception:
        log.exception("background work failed")
        return None


def outcome_of(work: Callable[..., T], *args: Any) -> T | Exception:
    """Return `work(*args)`, or the exception that it raises."""
    try:
        return work(*args)
    except Exception as outcome:
        return outcome


def result_of(outcome: T | Exception) -> T:
    """Return the outcome, or raise it if it is an exception."""
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def within(seconds: float, work: Callable[..., T], *args: Any) -> T:
    """Return `work(*args)`, run in a new task, or raise the exception that it raises.

    Blocks only this caller. Raises TimeoutError after `seconds`; the task itself continues.
    """
    outcomes: list[T | Exception] = []
    done = Signal()

    def run() -> None:
        outcomes.append(outcome_of(work, *args))
        done.set()

    spawn(run)
    # In halves: after a stall, the loop runs a due timeout before it reads a result that is ready.
    if not done.wait(seconds / 2) and not done.wait(seconds / 2):
        raise TimeoutError
    return result_of(outcomes[0])


def after(seconds: float, work: Callable[[], object]) -> None:
    """Call `work()` after `seconds`. Returns at once."""
    if ON_EVENTLET:
        eventlet.spawn_after(seconds, work)
    else:
        timer = threading.Timer(seconds, work)
        timer.daemon = True
        timer.start()


def yield_to_loop() -> None:
    """Yield to the loop once, so that other tasks run; does nothing under `flask run`."""
    if ON_EVENTLET:
        call_soon(getcurrent().switch)
        hubs.get_hub().switch()


def yielding(items: Iterable[Item], interval: int = 100) -> Iterator[Item]:
    """Iterate over a copy of `items`, and yield to the loop after each `interval` of them."""
    for number, item in enumerate(list(items), 1):
        yield item
        if number % interval == 0:
            yield_to_loop()


def call_soon(work: Callable[[], object]) -> None:
    """Call `work()` in the next loop iteration. Eventlet only."""
    hubs.get_hub().schedule_call_global(0, work)


def lock() -> contextlib.AbstractContextManager[Any]:
    """Return a lock for code that never yields: on eventlet, such code needs none."""
    return contextlib.nullcontext() if ON_EVENTLET else threading.Lock()


def detach_socket(environ: WSGIEnvironment, seconds: float) -> tuple[Any, bytes]:
    """Return the socket of this request and the bytes that were read after the request.

    `seconds` is the timeout of its operations under `flask run`; on eventlet it never blocks.
    `release` closes it. Raises RuntimeError on another server.
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
        return connection.send
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
        _Reader(connection, take, ended)
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


def start(work: Callable[..., object], *args: Any) -> None:
    """Run `work(*args)`, which must not raise, in a new task until it blocks. Eventlet only."""
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
    """Yield to the loop for `seconds`. Eventlet only."""
    eventlet.sleep(seconds)


def create_server(address: tuple[str, int], **options: Any) -> socket.socket:
    """Return a native socket from `socket.create_server`, which never blocks. Eventlet only."""
    listening: socket.socket = patcher.original("socket").create_server(address, **options)
    listening.setblocking(False)
    return listening


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
        if call or self._writing:
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
        return self._hub.add(kind, self._descriptor, lambda _: _logged(call), lambda _: None, None)


# The open connections whose data the loop reads.
watched: set["_Reader"] = set()


class _Reader(SocketWatch):
    """Reads the data of a connection, in a task, when the loop reports it."""

    __slots__ = ("_busy", "_ended", "_take")

    def __init__(self, opened: Any, take: Callable[[], bool], ended: Callable[[], object]) -> None:
        super().__init__(opened)
        self._take, self._ended = take, ended
        self._busy = False
        watched.add(self)
        self.on_readable(self._start)

    def _start(self) -> None:
        if self._busy:
            # More data arrived while the task waits for something else: stop listening until then.
            self.on_readable(None)
            return
        self._busy = True
        start(self._read)

    def _read(self) -> None:
        is_open = _logged(self._take)
        self._busy = False
        if not is_open:
            self.on_readable(None)
            watched.discard(self)
            _logged(self._ended)
        elif self._reading is None:
            self.on_readable(self._start)


def finish(environ: WSGIEnvironment) -> list[bytes]:
    """End a request whose response was sent on its socket; return the body for the server.

    Under `flask run`, shuts the socket down and raises ConnectionError, as its server expects.
    """
    if "scoreboard.connection" in environ:
        return []
    # The server would parse unread data as another request.
    connection = environ["werkzeug.socket"]
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
        for _ in range(MAX_DISCARDED // 65536):
            if not connection.recv(65536):
                break
    raise ConnectionError("the WebSocket has ended")
