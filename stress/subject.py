"""The server that is soaked: `python wsgi.py`, looked at from within by `stress.observed`."""

import contextlib
import json
import os
from pathlib import Path

import databases
from services import OwnRedis
from serving import Server
from viewers import wait_until


class Observed(Server):
    """The server of `python wsgi.py` with a thread that looks at it from within."""

    def __init__(self, folder, **settings):
        self.looks = folder / "looks.jsonl"
        self._quiet = folder / "looks.jsonl.quiet"
        # So that who asks can have any address.
        super().__init__(folder, TRUSTED_PROXIES="1", **settings)

    def command(self):
        return ["-m", "stress.observed", str(self.looks)]

    def samples(self):
        lines = self.looks.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    @contextlib.contextmanager
    def at_rest(self):
        """Have the garbage collected before every look, and the types of objects counted.

        At the end the last such look is over: it holds what a server at work must have for itself.
        """
        self._quiet.touch()
        yield
        self._quiet.unlink()
        wait_until(lambda: not self.samples()[-1]["quiet"])

    def cpu_seconds(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def served(database, folder, **settings):
    """Start the server on a database of this kind."""
    with contextlib.ExitStack() as stack:
        if database == "postgres":
            redis = OwnRedis(folder)
            stack.callback(redis.stop)
            settings |= {"DATABASE_URL": databases.new_database(), "REDIS_URL": redis.url}
        server = Observed(folder, **settings)
        stack.callback(server.stop)
        yield server
