"""The server that is flooded, as it comes: on SQLite, with its default limits."""

import os
import re
from pathlib import Path

from bench.subjects import Ours, token

from .swarm import Target

PLAYERS = 300


class Served(Ours):
    """`python wsgi.py` with the limits that it has by default, and what can be read of it."""

    settings = {"AUTH_RATE_LIMIT": "100/minute", "SCORE_RATE_LIMIT": "60/minute"}  # noqa: RUF012

    def __init__(self, **settings):
        self.settings = {**self.settings, **settings}
        super().__init__("sqlite", PLAYERS)
        self.watching = self.viewer_token()

    def target(self):
        """Return what a flood is told of this server."""
        player = self.players[0]
        return Target(self.port, self.watching, token(player, "player"), player)

    def sockets(self):
        """Return how many sockets the process has open."""
        return sum(where.startswith("socket:") for where in self._files())

    def files(self):
        """Return how many files of any kind the process has open."""
        return len(self._files())

    def tracebacks(self):
        """Return the last line of each traceback in the log, each kind once."""
        kinds = re.findall(r"^Traceback .*\n(?:[ \t].*\n|\n)*(\S.*)$", self.log(), re.MULTILINE)
        return sorted({f"a traceback in the log: {kind}" for kind in kinds})

    def _files(self):
        found = []
        for path in Path(f"/proc/{self.process.pid}/fd").iterdir():
            try:
                found.append(os.readlink(path))
            except FileNotFoundError:  # closed this moment
                continue
        return found


def connections(metrics):
    """Return the live connections that the text of /metrics tells, of both kinds together."""
    told = re.findall(r"^scoreboard_connections\{[^}]*\} (\S+)$", metrics, re.MULTILINE)
    return sum(int(float(count)) for count in told)
