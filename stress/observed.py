"""Run `python wsgi.py` with a native thread that counts objects from within the process.

    python -m stress.observed FILE

When FILE.request exists, the thread removes it, collects garbage and writes to FILE, as JSON, the
numbers of green threads and of objects in total and by type. This stalls the server. The thread is
created with functions saved before eventlet patches the standard library.
"""

import _thread
import gc
import json
import runpy
import sys
import time
from collections import Counter
from pathlib import Path

import greenlet

MAX_TYPES = 400  # the most frequent ones
REQUEST_INTERVAL = 0.2  # seconds

start_new_thread, sleep = _thread.start_new_thread, time.sleep


def main(file):
    """Serve like `python wsgi.py`. No module of the project may be imported before it patches."""
    start_new_thread(_answer_requests, (Path(file),))
    runpy.run_path("wsgi.py", run_name="__main__")


def _answer_requests(file):
    request, partial = Path(f"{file}.request"), Path(f"{file}.partial")
    while True:
        sleep(REQUEST_INTERVAL)
        if request.exists():
            request.unlink()
            partial.write_text(json.dumps(_count()))
            partial.rename(file)


def _count():
    gc.collect()
    objects = gc.get_objects()
    # Idle tasks are finished ones that the server keeps to use again, in a bounded number.
    idle = sys.modules["scoreboard.concurrency.runtime"].idle_tasks
    # A greenlet without a parent is a native thread: eventlet's pool has twenty for blocking calls.
    green = [each for each in objects if issubclass(type(each), greenlet.greenlet) and each.parent]
    types = Counter(f"{type(each).__module__}.{type(each).__qualname__}" for each in objects)
    return {
        "green threads": sum(not each.dead and each not in idle for each in green),
        "objects": len(objects),
        "types": types.most_common(MAX_TYPES),
    }


if __name__ == "__main__":
    main(sys.argv[1])
