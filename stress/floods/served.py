"""Start the server under flood: on SQLite, with its default limits."""

import os
import re
from pathlib import Path

from bench.subjects import Ours

from .swarm import Target

PLAYERS = 300


class Served(Ours):
    """`python wsgi.py` with its default limits, and figures of its process."""

    settings = {"AUTH_RATE_LIMIT": "100/minute", "SCORE_RATE_LIMIT": "60/minute"}  # noqa: RUF012

    def __init__(self):
        super().__init__("sqlite", PLAYERS)
        self.watching = self.viewer_token()

    def target(self):
        """Return the address and tokens that a flood needs."""
        return Target(self.port, self.watching, self.players[0])

    def sockets(self):
        """Return the number of open sockets of the process."""
        found = 0
        for path in Path(f"/proc/{self.process.pid}/fd").iterdir():
            try:
                found += os.readlink(path).startswith("socket:")
            except FileNotFoundError:  # closed meanwhile
                continue
        return found

    def tracebacks(self):
        """Return the last line of each traceback in the log, each kind once."""
        kinds = re.findall(r"^Traceback .*\n(?:[ \t].*\n|\n)*(\S.*)$", self.log(), re.MULTILINE)
        return sorted({f"a traceback in the log: {kind}" for kind in kinds})


def connections(metrics):
    """Return the number of live connections of both kinds, from the text of /metrics."""
    counts = re.findall(r"^scoreboard_connections\{[^}]*\} (\S+)$", metrics, re.MULTILINE)
    return sum(int(float(count)) for count in counts)
