"""A flood in a process of its own: `python -m stress.floods.attack NAME` with the rest by stdin.

It is told "hold" and then "end", a line each; by itself it ends after MOST_SECONDS.
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

from . import asking, polling, talking, waiting
from .swarm import Target

ROOT = Path(__file__).parent.parent.parent
MOST_SECONDS = 300
FLOODS = {
    "idle": waiting.Idle,
    "strangers": waiting.Strangers,
    "slow-heads": waiting.SlowHeads,
    "slow-lines": waiting.SlowLines,
    "slow-bodies": waiting.SlowBodies,
    "slow-chunks": waiting.SlowChunks,
    "slow-readers": waiting.SlowReaders,
    "vanished": waiting.Vanished,
    "endless-lines": waiting.EndlessLines,
    "sessions": polling.Sessions,
    "flights": polling.Flights,
    "overlapping": polling.Overlapping,
    "never-polling": polling.NeverPolling,
    "logins": asking.Logins,
    "hashed-logins": asking.HashedLogins,
    "scattered-logins": asking.ScatteredLogins,
    "fresh-logins": asking.FreshLogins,
    "guesses": asking.Guesses,
    "handshake-guesses": asking.HandshakeGuesses,
    "connect-guesses": asking.ConnectGuesses,
    "large": talking.Large,
    "large-nested": talking.LargeNested,
    "large-garbage": talking.LargeGarbage,
    "large-strangers": talking.LargeStrangers,
    "talkative": talking.Talkative,
    "parts": talking.Parts,
    "pings": talking.Pings,
    "engine-pings": talking.EnginePings,
}


class Attack:
    """A flood, to begin. `network` tells it from others: it comes from 127.<network>.0.*."""

    def __init__(self, name, target, network=100, count=None, rate=None):
        self.name, self.network, self._target = name, network, target
        self._how = {"network": network, "count": count, "rate": rate}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "stress.floods.attack", name],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def begin(self):
        """Start to flood. Starting the process, which takes a while, is not part of it."""
        self._tell(json.dumps({"target": dataclasses.asdict(self._target), **self._how}))

    def is_up(self):
        """Whether everything is under way."""
        return bool(select.select([self._process.stdout], [], [], 0)[0])

    def hold(self):
        """Stop what is new; what was begun stays, and goes on."""
        self._tell("hold")

    def held(self):
        """Return how many sockets the server still has of this flood.

        Those that it has let go of are nobody's, though the kernel may not be done with them.
        """
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        whose = f"{self.network:02X}7F:"  # 127.n.0.y is yy00nn7F
        return sum(
            row[1] == f"0100007F:{self._target.port:04X}" and whose in row[2] and row[9] != "0"
            for row in rows
        )

    def end(self):
        """End it, and return what it counted."""
        with contextlib.suppress(BrokenPipeError):
            self._tell("end")
        try:
            said, _ = self._process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise
        assert self._process.returncode == 0, f"the flood {self.name} failed"
        return json.loads(said.splitlines()[-1])

    def _tell(self, line):
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()


def main(name):
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {1})
    os.nice(10)  # for the legitimate clients are on this core as well
    told = json.loads(sys.stdin.buffer.raw.readline() or sys.exit())
    target = Target(**told.pop("target"))
    flood = FLOODS[name](target, **told)
    until = time.monotonic() + MOST_SECONDS

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
