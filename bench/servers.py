"""The measured servers, each on the first core with its own database and players.

The load comes from this process, on the second core. Memory and CPU time of a server are read from
the kernel, so no benchmark code runs in the server.
"""

import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import ClassVar

import requests

from tests.support import databases
from tests.support.servers import Server
from tests.support.sql import query
from tests.support.tokens import mint

from .clients import MeasurementFailed
from .updates import Updates, number_of

PLAYERS = 1000
PEERS = Path(__file__).parent / "peers"
TOKEN_LIFETIME = 6 * 3600  # seconds: longer than a run


class NotInstalled(Exception):
    """A peer cannot be installed on this machine."""


def prepare_load_process():
    """Move this process to the second core, and raise its limit of open files to the maximum."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    _pin(1)


def _pin(core):
    if (os.cpu_count() or 1) > core:
        os.sched_setaffinity(0, {core})


@contextlib.contextmanager
def _on_server_core():
    """Start child processes on the first core, which they inherit."""
    cores = os.sched_getaffinity(0)
    _pin(0)
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


class Ours(Server):
    """This project's `python wsgi.py`, with rate limits that the load does not reach."""

    name = "ours"
    is_forked = False  # as in production
    has_batches = True
    settings: ClassVar = {"CONNECTIONS_PER_ADDRESS": "100000"}
    new_postgres = staticmethod(databases.new_database)

    @classmethod
    def set_up(cls):
        """Install the server's packages, which may take minutes. Raises NotInstalled."""

    def __init__(self, database, players=PLAYERS, **settings):
        self._folder = folder = Path(tempfile.mkdtemp())
        self.database = (
            f"sqlite:///{folder}/scoreboard.db" if database == "sqlite" else self.new_postgres()
        )
        with _on_server_core():
            super().__init__(folder, DATABASE_URL=self.database, **self.settings, **settings)
        try:
            self.prepare(players)
        except BaseException:
            self.stop()
            raise
        self.updates = Updates(self.players)

    def prepare(self, players):
        self.scorer_token = token(self.user("bench-scorer", "scorer").user_id, "scorer")
        self.players = json.loads(self.flask("users", "seed", str(players)))

    def stop(self):
        super().stop()
        shutil.rmtree(self._folder)

    close = stop

    def viewer_token(self):
        response = requests.post(f"{self.url}/api/auth/viewer", timeout=10)
        return response.json()["access_token"]

    def cpu_seconds(self):
        """Return the seconds of CPU time of the process, user and kernel."""
        return time.clock_gettime((~self.process.pid << 3) | 2)  # see clock_getcpuclockid(3)

    def settle(self):
        """Block until the process is idle. Raises MeasurementFailed after a minute."""
        deadline, before = time.monotonic() + 60, self.cpu_seconds()
        while time.monotonic() < deadline:
            time.sleep(0.2)
            before, last = self.cpu_seconds(), before
            if before - last < 0.02:
                return
        raise MeasurementFailed("the server does not become idle")

    def resident_bytes(self, field="VmRSS"):
        """Return the resident memory of the process: current, or the maximum with `VmHWM`."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition(f"{field}:")[2].split()[0]) * 1024

    def recorded(self):
        """Return the numbers of the updates in the history, in the order of their ids."""
        rows = query(self.database, "SELECT score_value FROM scores ORDER BY score_id")
        return [number_of(value) for (value,) in rows]


class Peer(Ours):
    """A server in bench/peers with the same API; its tables are created here."""

    has_batches = False
    new_postgres = staticmethod(databases.new_postgres)
    folder: Path
    program: tuple[str, ...]
    installing: tuple[tuple[str, ...], ...]  # commands

    @classmethod
    def set_up(cls):
        for command in cls.installing:
            if not shutil.which(command[0]):
                raise NotInstalled(f"{command[0]} is not installed")
            done = subprocess.run(command, cwd=cls.folder, capture_output=True, text=True)
            if done.returncode:
                raise NotInstalled(f"{' '.join(command)} failed: {done.stderr[-200:]}")

    def start(self):
        schema, is_sqlite = (PEERS / "schema.sql").read_text(), self.database.startswith("sqlite")
        for statement in schema.split(";")[:-1]:
            self.execute(statement.replace("bigserial", "integer") if is_sqlite else statement)
        with self.log_file.open("a") as log:
            self.process = subprocess.Popen(
                self.program, cwd=self.folder, env=self.environment, stdout=log, stderr=log
            )
        deadline = time.monotonic() + 20
        while not self._responds():
            assert self.process.poll() is None, f"the server ended: {self.log()}"
            assert time.monotonic() < deadline, f"the server does not respond: {self.log()}"

    def prepare(self, players):
        self.scorer_token = token("scorer", "scorer")
        self.players = [str(uuid.uuid4()) for _ in range(players)]
        rows = ", ".join(f"('{player}', 'player')" for player in self.players)
        self.execute(f"INSERT INTO users (user_id, username) VALUES {rows}")

    def viewer_token(self):
        return token("viewer", "viewer")


class Node(Peer):
    """Express and socket.io."""

    name = "Node"
    settings: ClassVar = {"NODE_ENV": "production"}
    folder = PEERS / "node-express"
    program = ("node", "server.js")
    installing = (("npm", "install", "--no-save", "--no-fund", "--no-audit"),)


class FastApi(Peer):
    """FastAPI, uvicorn and python-socketio."""

    name = "FastAPI"
    folder = PEERS / "fastapi"
    program = (str(folder / ".venv" / "bin" / "python"), "server.py")
    installing = (
        (sys.executable, "-m", "venv", ".venv"),
        (program[0], "-m", "pip", "install", "--quiet", "-r", "requirements.txt"),
    )


def token(user_id, role):
    """Return an access token that is valid for the whole run."""
    return mint(user_id, role=role, exp=time.time() + TOKEN_LIFETIME)
