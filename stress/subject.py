"""Start the server of the soak test: `python wsgi.py`, sampled by `stress.observed`."""

import contextlib
import json
import os
from pathlib import Path

from tests.support import databases
from tests.support.backing_services import OwnRedis
from tests.support.servers import Server
from tests.support.waiting import wait_until


class Observed(Server):
    """The server of `python wsgi.py` with a thread that samples it from within."""

    def __init__(self, folder, **settings):
        self.looks = folder / "looks.jsonl"
        self._quiet = folder / "looks.jsonl.quiet"
        # Trust one proxy, so that a client can claim any address.
        super().__init__(folder, TRUSTED_PROXIES="1", **settings)

    def command(self):
        return ["-m", "stress.observed", str(self.looks)]

    def samples(self):
        lines = self.looks.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    @contextlib.contextmanager
    def at_rest(self):
        """Within the context, collect garbage before every sample and count objects by type.

        Blocks at the end until a sample is without that: such a sample disturbs a working server.
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
    """Start the server on a database of this kind; stop it at the end of the context."""
    with contextlib.ExitStack() as stack:
        if database == "postgres":
            redis = OwnRedis(folder)
            stack.callback(redis.stop)
            settings |= {"DATABASE_URL": databases.new_database(), "REDIS_URL": redis.url}
        server = Observed(folder, **settings)
        stack.callback(server.stop)
        yield server
