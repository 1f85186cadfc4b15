"""Run a flood in its own process: `python -m stress.floods.attack NAME`.

The process reads its target from standard input as JSON, then the lines "hold" and "end". Without
them it ends after `MAX_TIME` seconds.
"""

import contextlib
import dataclasses
import json
import os
import resource
import select
import subprocess
import sys
import time
from pathlib import Path

from .clients import FLOODS
from .swarm import Target

ROOT = Path(__file__).parent.parent.parent
MAX_TIME = 300


class Attack:
    """The process of a flood from 127.<network>.0.*; `begin` starts the flood."""

    def __init__(self, name, target, network=100, count=None):
        self.name, self.network, self._target, self._count = name, network, target, count
        self._process = subprocess.Popen(
            [sys.executable, "-m", "stress.floods.attack", name],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def begin(self):
        """Start to flood. Returns at once, since the process already runs."""
        target = dataclasses.asdict(self._target)
        self._write(json.dumps({"target": target, "network": self.network, "count": self._count}))

    def is_up(self):
        """Whether all connections were opened."""
        return bool(select.select([self._process.stdout], [], [], 0)[0])

    def hold(self):
        """Stop opening connections; open ones stay, and slow ones continue to send."""
        self._write("hold")

    def held(self):
        """Return the number of this flood's sockets that the server still has open.

        A socket without an inode is closed, though the kernel may still have data to send.
        """
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        network = f"{self.network:02X}7F:"  # 127.n.0.y is yy00nn7F
        return sum(
            row[1] == f"0100007F:{self._target.port:04X}" and network in row[2] and row[9] != "0"
            for row in rows
        )

    def end(self):
        """End the flood and return its counts."""
        with contextlib.suppress(BrokenPipeError):
            self._write("end")
        try:
            output, _ = self._process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise
        assert self._process.returncode == 0, f"the flood {self.name} failed"
        return json.loads(output.splitlines()[-1])

    def _write(self, line):
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()


def main(name):
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {1})
    os.nice(10)  # the legitimate clients share this core
    given = json.loads(sys.stdin.buffer.raw.readline() or sys.exit())
    flood = FLOODS[name](Target(**given["target"]), given["network"], given["count"])
    until = time.monotonic() + MAX_TIME

    def ended():
        if time.monotonic() > until:
            return True
        if not select.select([sys.stdin], [], [], 0)[0]:
            return False
        flood.holding = True
        return sys.stdin.buffer.raw.readline().strip() != b"hold"

    flood.run(lambda: print("up", flush=True), ended)
    print(json.dumps(flood.counts))


if __name__ == "__main__":
    main(*sys.argv[1:])
