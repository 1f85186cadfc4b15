"""The measured servers, each on the first core with its own database and players.

The load comes from this process, on the second core. Memory and CPU time of a server are read from
the kernel, so no benchmark code runs in the server.
"""

import contextlib
import json
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import ClassVar

import jwt
import psycopg
import requests

from tests.support import databases
from tests.support.servers import PASSWORD, SECRETS, Server

from . import ROOT
from .load import Lost
from .updates import Updates, number_of

PLAYERS = 1000
PEERS = ROOT / "bench" / "peers"
TOKEN_LIFETIME = 6 * 3600  # seconds: longer than a run


class NotInstalled(Exception):
    """A peer cannot be installed on this machine."""


def be_the_load():
    """Move this process to the second core, and raise its limit of open files to the maximum."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    _pin(1)


def _pin(core):
    if (os.cpu_count() or 1) > core:
        os.sched_setaffinity(0, {core})


@contextlib.contextmanager
def _on_the_servers_core():
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
    is_forked = False  # started as in production
    has_batches = True
    order = "created_at, score_id"  # ORDER BY of the history
    settings: ClassVar = {"CONNECTIONS_PER_ADDRESS": "100000"}
    new_postgres = staticmethod(databases.new_database)

    @classmethod
    def set_up(cls):
        """Install the server's packages, which may take minutes. Raises NotInstalled."""

    def __init__(self, database, players=PLAYERS):
        self._folder = folder = Path(tempfile.mkdtemp())
        self.database = (
            f"sqlite:///{folder}/scoreboard.db" if database == "sqlite" else self.new_postgres()
        )
        with _on_the_servers_core():
            super().__init__(folder, DATABASE_URL=self.database, **self.settings)
        try:
            self.prepare(players)
        except BaseException:
            self.stop()
            raise
        self.updates = Updates(self.players)

    def prepare(self, players):
        whom = ("scorer", "scorer@example.com", "--role", "scorer", "--password", PASSWORD)
        self.scorer_token = token(self.flask("users", "create", *whom).strip(), "scorer")
        self.players = json.loads(self.flask("users", "seed", str(players)))

    def stop(self):
        super().stop()
        shutil.rmtree(self._folder)

    close = stop

    def viewer_token(self):
        response = requests.post(f"{self.url}/api/auth/viewer", timeout=10)
        return response.json()["access_token"]

    def cpu_seconds(self):
        """Return the seconds of CPU time of the process, user and kernel, in microsecond precision.

        Reads the CPU clock of its pid: see clock_getcpuclockid(3).
        """
        return time.clock_gettime((~self.process.pid << 3) | 2)

    def settle(self):
        """Block until the process is idle. Raises Lost after a minute."""
        until, before = time.monotonic() + 60, self.cpu_seconds()
        while time.monotonic() < until:
            time.sleep(0.2)
            now = self.cpu_seconds()
            if now - before < 0.02:
                return
            before = now
        raise Lost("the server does not become idle")

    def resident_bytes(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024

    def recorded(self):
        """Return the numbers of the updates in the history, in the order recorded."""
        with self._connection() as connection:
            rows = connection.execute(f"SELECT score_value FROM scores ORDER BY {self.order}")
            return [number_of(value) for (value,) in rows]

    def _connection(self):
        if self.database.startswith("sqlite"):
            path = self.database.removeprefix("sqlite:///")
            return contextlib.closing(sqlite3.connect(path, timeout=10))
        return psycopg.connect(self.database)


class Peer(Ours):
    """A server in bench/peers with the same API; its tables are created here."""

    has_batches = False
    order = "score_id"
    new_postgres = staticmethod(databases.new_postgres)
    folder: Path
    program: tuple[str, ...]
    pins: str  # the file of exact versions
    packages: str  # where they are installed
    installing: tuple[tuple[str, ...], ...]  # commands

    @classmethod
    def is_installed(cls):
        """Whether the packages are installed in the currently pinned versions."""
        done, pins = cls.folder / cls.packages / ".installed", cls.folder / cls.pins
        return done.exists() and done.stat().st_mtime >= pins.stat().st_mtime

    @classmethod
    def set_up(cls):
        if cls.is_installed():
            return
        for command in cls.installing:
            if not shutil.which(command[0]):
                raise NotInstalled(f"{command[0]} is not installed")
            done = subprocess.run(command, cwd=cls.folder, capture_output=True, text=True)
            if done.returncode:
                reason = (done.stderr.strip() or "no message").splitlines()[-1]
                raise NotInstalled(f"{' '.join(command)} failed: {reason}")
        (cls.folder / cls.packages / ".installed").touch()

    def start(self):
        self._make_tables()
        with self.log_file.open("a") as log:
            self.process = subprocess.Popen(
                self.program, cwd=self.folder, env=self.environment, stdout=log, stderr=log
            )
        deadline = time.monotonic() + 20
        while not self._answers():
            assert self.process.poll() is None, f"the server ended: {self.log()}"
            assert time.monotonic() < deadline, f"the server does not answer: {self.log()}"

    def _make_tables(self):
        schema = (PEERS / "schema.sql").read_text()
        if self.database.startswith("sqlite"):
            schema = schema.replace("bigserial", "integer")
        with self._connection() as connection:
            for statement in schema.split(";")[:-1]:
                connection.execute(statement)
            connection.commit()

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
    pins, packages = "package-lock.json", "node_modules"
    installing = (("npm", "ci", "--no-fund", "--no-audit"),)


class FastApi(Peer):
    """FastAPI, uvicorn and python-socketio."""

    name = "FastAPI"
    folder = PEERS / "fastapi"
    program = (str(folder / ".venv" / "bin" / "python"), "server.py")
    pins, packages = "requirements.txt", ".venv"
    installing = (
        (sys.executable, "-m", "venv", ".venv"),
        (program[0], "-m", "pip", "install", "--disable-pip-version-check", "-r", pins),
    )


def token(user_id, role):
    """Return an access token that is valid for the whole run."""
    now = int(time.time())
    claims = {"sub": user_id, "role": role, "type": "access", "jti": uuid.uuid4().hex}
    claims |= {"iat": now, "nbf": now, "exp": now + TOKEN_LIFETIME, "fresh": False}
    return jwt.encode(claims, SECRETS["JWT_SECRET_KEY"], "HS256")
