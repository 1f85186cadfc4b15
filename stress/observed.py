"""Run `python wsgi.py` with a native thread that samples the process from within.

    python -m stress.observed FILE

Every `SECONDS` the thread appends one line of JSON to FILE: resource use as the system reports it,
and internal figures such as the number of green threads. The thread is created with functions
saved before eventlet patches the standard library, so that it also runs while the loop hangs.
While a file FILE.quiet exists, each sample first collects garbage, then counts objects by type.
Otherwise the sample touches no object that the server may be using.

SOAK_LEAK, such as `memory,files`, makes the thread leak with every sample: see `LEAKS`.
"""

import _socket
import _thread
import contextlib
import gc
import json
import os
import runpy
import sys
import time
from collections import Counter
from itertools import chain, repeat
from pathlib import Path

import greenlet

from scoreboard.services import services

SECONDS = 2.0
# Object types per sample, the most frequent ones; and calls per stack.
MOST_KINDS = 400
MOST_CALLS = 8
DATABASE = "scoreboard.db"
# TCP states, from Linux's `tcp_states.h`.
ESTABLISHED, LISTENS = 1, 10

start_new_thread, sleep = _thread.start_new_thread, time.sleep
wall_clock, monotonic = time.time, time.monotonic


def main(file):
    """Serve like `python wsgi.py`. No project module may be imported before it patches."""
    leaks = [LEAKS[name] for name in os.environ.get("SOAK_LEAK", "").split(",") if name]
    start_new_thread(_observe, (Path(file), leaks))
    runpy.run_path("wsgi.py", run_name="__main__")


def _observe(file, leaks):
    leaked, quiet = [], file.with_name(f"{file.name}.quiet")
    with file.open("a", buffering=1) as lines:
        while True:
            leaked += [leak() for leak in leaks]
            seen = _look(quiet=quiet.exists())
            lines.write(json.dumps(seen) + "\n")
            sleep(SECONDS)


def _look(quiet):
    seen = {
        "at": wall_clock(),
        "quiet": quiet,
        "rss": _status("VmRSS:") / 1024,
        "threads": _status("Threads:"),
        "held": _held(),
        **_open(),
    }
    return seen | (_objects_at_rest() if quiet else _objects_under_load())


def _objects_under_load():
    """Return the numbers of objects and of green threads; the latter includes native threads.

    A tuple under construction cannot be resized while another reference to it exists. So the list
    of all objects lives only within one C call, during which no other thread runs.
    """
    objects = chain.from_iterable(map(gc.get_objects, [None]))
    green = sum(map(issubclass, map(type, objects), repeat(greenlet.greenlet)))
    return {"green": green, "objects": sys.getallocatedblocks()}


def _objects_at_rest():
    """Return exact counts after a collection, with all types and the green threads' stacks."""
    gc.collect()
    objects = gc.get_objects()
    kinds = Counter(map(type, objects))
    green = {kind for kind in kinds if issubclass(kind, greenlet.greenlet)}
    # A greenlet without a parent is a native thread: eventlet's pool has twenty for blocking calls.
    alive = [each for each in objects if type(each) in green and not each.dead and each.parent]
    # The server keeps a bounded number of finished tasks to use again.
    runtime = sys.modules.get("scoreboard.concurrency.runtime")
    idle = set(runtime.idle_tasks) if runtime else set()
    alive = [each for each in alive if each not in idle]
    named = Counter()
    for kind, count in kinds.items():
        named[f"{kind.__module__}.{kind.__qualname__}"] += count
    return {
        "green": len(alive),
        "objects": len(objects),
        "kinds": dict(named.most_common(MOST_KINDS)),
        "stacks": Counter(map(_stack, alive)),
    }


def _stack(thread):
    """Return the stack of a waiting green thread, innermost call first."""
    frame, calls = thread.gr_frame, []
    while frame and len(calls) < MOST_CALLS:
        calls.append(f"{Path(frame.f_code.co_filename).stem}.{frame.f_code.co_qualname}")
        frame = frame.f_back
    return " < ".join(calls) or repr(thread)


def _status(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(name))


def _held():
    """Return the sizes of the server's collections of clients; all are 0 without clients."""
    app = getattr(sys.modules["__main__"], "app", None)
    if app is None:  # the server is still starting
        return {}
    from scoreboard.concurrency import runtime

    audience, server = services(app).subscribers, services(app).socketio.server
    return {
        "watched sockets": len(runtime.watched),
        "attempts": len(services(app).attempts_in_progress),
        "connections": len(services(app).connections._all),
        "viewers": sum(map(len, audience.by_protocol.values())),
        "sessions": len(server.eio.sockets),
        "environments": len(server.environ),
        # Copies, because the loop runs meanwhile and changes the rooms.
        "clients": sum(
            len(room)
            for rooms in list(server.manager.rooms.values())
            for room in list(rooms.values())
        ),
    }


def _open():
    """Return the numbers of open files, client sockets and other connections.

    `gone` counts the client sockets that are not established any more, closed by either side. Files
    of the database are not counted, since their number varies with a bounded pool; nor is the
    listening socket.
    """
    counts = Counter(files=0, sockets=0, gone=0, connections=0)
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # closed meanwhile, as is the listed folder
            target = os.readlink(f"/proc/self/fd/{descriptor}")
            if target.startswith("socket:"):
                counts.update(_socket_is(os.dup(int(descriptor))))
            else:
                counts["files"] += not target.rpartition("/")[2].startswith(DATABASE)
    return counts


def _socket_is(descriptor):
    """Return the counters that this socket increments, and close the descriptor."""
    try:
        seen = _socket.socket(fileno=descriptor)
    except OSError:  # closed meanwhile, and its number was reused for a file
        os.close(descriptor)
        raise
    try:
        name = seen.getsockname()
        if len(name) < 2 or name[1] != int(os.environ["PORT"]):
            return ["connections"]
        state = seen.getsockopt(_socket.IPPROTO_TCP, _socket.TCP_INFO, 1)[0]
    finally:
        seen.close()
    return {LISTENS: [], ESTABLISHED: ["sockets"]}.get(state, ["sockets", "gone"])


def _leak_green():
    """Return a green thread that has started and never ends."""
    stuck = greenlet.greenlet(lambda: greenlet.getcurrent().parent.switch())
    stuck.switch()
    return stuck


LEAKS = {
    "memory": lambda: b"leak" * 1_000_000,
    "objects": lambda: [[] for _ in range(5000)],
    "files": lambda: os.open(os.devnull, os.O_RDONLY),
    "green": _leak_green,
}

if __name__ == "__main__":
    main(sys.argv[1])
