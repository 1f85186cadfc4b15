"""`python wsgi.py`, with a thread beside it that looks at the process from within.

    python -m stress.observed FILE

Every SECONDS the thread writes one line of JSON into FILE: what the system gives the process, and
what only the process knows of itself, its green threads first of all. It is a thread of the
system, taken from the standard library before eventlet patches that, so that it is no green
thread itself and tells as well of a loop that hangs. As long as there is a file FILE.quiet, the
garbage is collected before each look, every object is looked at, and the line tells how many there
are of each type. Else nothing is looked at that the server may be at work on.

SOAK_LEAK, such as `memory,files`, makes the thread itself leak with every look: see LEAKS.
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

SECONDS = 2.0
# Of the types of objects, those that there are most of.
MOST_KINDS = 400
MOST_CALLS = 8
DATABASE = "scoreboard.db"
# States of TCP, from the system's `tcp_states.h`.
ESTABLISHED, LISTENS = 1, 10

start_new_thread, sleep = _thread.start_new_thread, time.sleep
wall_clock, monotonic = time.time, time.monotonic


def main(file):
    """Serve as `python wsgi.py` does; nothing of the project may be imported before it patches."""
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
    """Return how many objects there are, and how many green threads with the threads themselves.

    A tuple that somebody is still building must not be held meanwhile: it could not grow any more.
    So the list of all objects lives within one call of C, in which no other thread has a turn.
    """
    objects = chain.from_iterable(map(gc.get_objects, [None]))
    green = sum(map(issubclass, map(type, objects), repeat(greenlet.greenlet)))
    return {"green": green, "objects": sys.getallocatedblocks()}


def _objects_at_rest():
    """Return the same exactly, with all types and with where the green threads wait."""
    gc.collect()
    objects = gc.get_objects()
    kinds = Counter(map(type, objects))
    green = {kind for kind in kinds if issubclass(kind, greenlet.greenlet)}
    # Without a parent it is the thread itself, of which eventlet has twenty for what blocks.
    alive = [each for each in objects if type(each) in green and not each.dead and each.parent]
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
    """Return where a green thread waits, the innermost call first."""
    frame, calls = thread.gr_frame, []
    while frame and len(calls) < MOST_CALLS:
        calls.append(f"{Path(frame.f_code.co_filename).stem}.{frame.f_code.co_qualname}")
        frame = frame.f_back
    return " < ".join(calls) or repr(thread)


def _status(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(name))


def _held():
    """Return how many there are of what the server keeps for every client; none once all left."""
    app = getattr(sys.modules["__main__"], "app", None)
    if app is None:  # it has not got that far
        return {}
    from scoreboard.concurrency import runtime as transport
    from scoreboard.observability import audit

    audience, server = app.extensions["audience"], app.extensions["socketio"].server
    return {
        "watched sockets": len(transport.watched),
        "attempts": len(audit.under_way),
        "connections": len(app.extensions["connections"]._all),
        "viewers": len(audience.sockets) + len(audience.viewers),
        "sessions": len(server.eio.sockets),
        "environments": len(server.environ),
        # Copies: the loop goes on meanwhile, and rooms come and go.
        "clients": sum(
            len(room)
            for rooms in list(server.manager.rooms.values())
            for room in list(rooms.values())
        ),
    }


def _open():
    """Return how many files are open, how many sockets of clients, and how many of others.

    `gone` are the sockets of clients who have closed them or vanished, or whom we have hung up on:
    all that are not established. Files of the database are not counted, as a bounded pool has more
    or fewer of them; nor is the socket that listens.
    """
    counts = Counter(files=0, sockets=0, gone=0, connections=0)
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # closed by now, as is the folder itself
            target = os.readlink(f"/proc/self/fd/{descriptor}")
            if target.startswith("socket:"):
                counts.update(_socket_is(os.dup(int(descriptor))))
            else:
                counts["files"] += not target.rpartition("/")[2].startswith(DATABASE)
    return counts


def _socket_is(descriptor):
    """Return as what this socket counts, and close it."""
    try:
        seen = _socket.socket(fileno=descriptor)
    except OSError:  # it was closed, and its number is another file's now
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
