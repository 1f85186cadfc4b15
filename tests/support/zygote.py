"""Processes of ours that start in no time: forked from one that has imported what they need.

Nine tenths of what `python wsgi.py` and `flask` take to start are imports, the same ones for every
test. A zygote has done them, and each process that it forks then runs the program: a process of its
own, with its own environment and log.

That they start by themselves is for the tests of the README and of the Procfile to see.
"""

import contextlib
import ctypes
import json
import os
import runpy
import select
import signal
import subprocess
import sys
import threading
import warnings

# As they are before eventlet patches them: what it has instead would start its loop.
from os import read, waitpid, write
from pathlib import Path

ROOT = Path(__file__).parents[2]
# From the system's `prctl.h`: who calls it becomes the parent of orphans among its descendants.
PR_SET_CHILD_SUBREAPER = 36

_lock = threading.Lock()
_zygotes = {}


def can_fork(command, environment):
    """Whether `fork` can start this: too late for a library to be loaded before all others."""
    is_ours = command == ["wsgi.py"] or command[:2] == ["-m", "flask"]
    return sys.platform == "linux" and is_ours and "LD_PRELOAD" not in environment


def fork(command, environment, stdout, stderr):
    """Start `python` with this command in this environment, writing to these files.

    Return its process. The command is `wsgi.py` or `-m flask` and what comes after that.
    """
    asked = {"command": command, "environment": environment}
    asked |= {"stdout": str(stdout), "stderr": str(stderr)}
    kind = "green" if command[0] == "wsgi.py" else "plain"
    with _lock:
        # Not put back if anything goes wrong: who comes next must not get the answer to this.
        zygote = _zygotes.pop(kind, None) or _new_zygote(kind)
        with _parent_of_orphans():
            zygote.stdin.write(json.dumps(asked) + "\n")
            zygote.stdin.flush()
            forked = Forked(int(zygote.stdout.readline()))
        _zygotes[kind] = zygote
        return forked


def _new_zygote(kind):
    """Start a process that forks, which ends with this one."""
    return subprocess.Popen(
        [sys.executable, __file__, kind],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@contextlib.contextmanager
def _parent_of_orphans():
    """Become the parent of what a child of ours leaves behind; of nothing that others leave."""
    prctl = ctypes.CDLL(None).prctl
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    try:
        yield
    finally:
        prctl(PR_SET_CHILD_SUBREAPER, 0)


class Forked:
    """A process that was forked for us: as much of `subprocess.Popen` as the tests need."""

    def __init__(self, pid):
        self.pid = pid
        self.returncode = None
        self._lock = threading.Lock()

    def poll(self):
        """Return what the process ended with, negative for a signal; None if it has not."""
        with self._lock:
            if self.returncode is None:
                ended, status = os.waitpid(self.pid, os.WNOHANG)
                if ended:
                    self.returncode = os.waitstatus_to_exitcode(status)
            return self.returncode

    def wait(self, timeout):
        """Return what it ends with. Raises TimeoutExpired if it has not within these seconds."""
        if self.poll() is None:
            descriptor = os.pidfd_open(self.pid)
            ended = select.poll()
            ended.register(descriptor, select.POLLIN)
            try:
                if not ended.poll(timeout * 1000):
                    raise subprocess.TimeoutExpired("a forked server", timeout)
            finally:
                os.close(descriptor)
        return self.poll()

    def send_signal(self, number):
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self):
        self.send_signal(signal.SIGTERM)


def _main():
    if sys.argv[1] == "green":
        _be_green()
    sys.path[0] = str(ROOT)

    import scoreboard  # noqa: F401

    while line := sys.stdin.readline():
        _fork(**json.loads(line))


def _be_green():
    """Do what `wsgi.py` does first."""
    warnings.filterwarnings("ignore", message="\nEventlet is deprecated")

    import eventlet

    eventlet.monkey_patch()
    os.environ["PSYCOPG_WAIT_FUNC"] = "wait_select"


def _fork(**asked):
    """Tell the number of a new process once it is an orphan, and so the child of who asked."""
    told, tell = os.pipe()
    between = os.fork()
    if between == 0:
        orphan = os.fork()
        if orphan == 0:
            os.close(told)
            os.close(tell)
            _run(**asked)
        write(tell, str(orphan).encode())
        os._exit(0)
    os.close(tell)
    waitpid(between, 0)
    print(read(told, 20).decode(), flush=True)
    os.close(told)


def _run(command, environment, stdout, stderr):
    """Be the program."""
    for number, path in enumerate((os.devnull, stdout, stderr)):
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT if number else os.O_RDONLY
        opened = os.open(path, flags, 0o644)
        os.dup2(opened, number)
        os.close(opened)
    os.environ.clear()
    os.environ.update(environment)
    if "eventlet" in sys.modules:
        _have_a_loop_of_its_own()
    if command[0] == "wsgi.py":
        sys.argv = command
        runpy.run_path("wsgi.py", run_name="__main__")
    else:
        sys.argv = command[1:]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    sys.exit()


def _have_a_loop_of_its_own():
    """Leave the loop that all who are forked have in common, and that has never run."""
    from eventlet import hubs

    hubs.get_hub().poll.close()
    hubs.use_hub()


if __name__ == "__main__":
    _main()
