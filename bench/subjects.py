"""What is measured: a server process on the first core, with a database and players of its own.

The load comes from this process, on the second core, so that neither takes the other's time. What
the kernel counts of the server is read from /proc, so there is nothing of this in the server.
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

import databases
import jwt
import psycopg
import requests
from serving import PASSWORD, SECRETS, Server

from . import ROOT
from .load import Lost
from .updates import Updates, number_of

PLAYERS = 1000
LIFETIME = 6 * 3600  # of the tokens, in seconds: longer than everything together


def be_the_load():
    """Move this process to the second core, and let it and the servers have many connections."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    _pin(1)


def _pin(core):
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > core:
        os.sched_setaffinity(0, {core})


@contextlib.contextmanager
def _on_the_servers_core():
    """Children inherit where their parent is allowed to run, and so do their threads."""
    _pin(0)
    try:
        yield
    finally:
        _pin(1)


class Ours(Server):
    """This project's `python wsgi.py`, with limits that nobody reaches."""

    name = "ours"
    is_forked = False  # what is measured is started as its users start it
    has_batches = has_plain_websocket = True
    settings: ClassVar = {"CONNECTIONS_PER_ADDRESS": "100000"}
    new_postgres = staticmethod(databases.new_database)

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

    def viewer_token(self):
        answer = requests.post(f"{self.url}/api/auth/viewer", timeout=10)
        return answer.json()["access_token"]

    def cpu_seconds(self):
        """Return the CPU time of the process so far, in user and kernel mode, to the microsecond.

        The process's own clock, by its pid: see clock_getcpuclockid(3).
        """
        return time.clock_gettime((~self.process.pid << 3) | 2)

    def settle(self):
        """Wait until the process has nothing more to do."""
        until, before = time.monotonic() + 60, self.cpu_seconds()
        while time.monotonic() < until:
            time.sleep(0.2)
            now = self.cpu_seconds()
            if now - before < 0.02:
                return
            before = now
        raise Lost("the server would not come to rest")

    def resident_bytes(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024

    def recorded(self):
        """Return the numbers of the updates in the history, in the order of their recording."""
        order = "created_at, score_id" if self.name == "ours" else "score_id"
        query = f"SELECT score_value FROM scores ORDER BY {order}"
        if self.database.startswith("sqlite"):
            with contextlib.closing(
                sqlite3.connect(self.database.removeprefix("sqlite:///"))
            ) as connection:
                return [number_of(value) for (value,) in connection.execute(query)]
        with psycopg.connect(self.database) as connection:
            return [number_of(value) for (value,) in connection.execute(query)]


class Stock(Ours):
    """The stock way, `bench/stock.py`."""

    name = "stock"
    has_batches = has_plain_websocket = False
    new_postgres = staticmethod(databases.new_postgres)  # it makes its tables itself
    command = (sys.executable, "bench/stock.py")

    def start(self):
        with self.log_file.open("a") as log:
            self.process = subprocess.Popen(
                self.command, cwd=ROOT, env=self.environment, stdout=log, stderr=log
            )
        deadline = time.monotonic() + 20
        while not self._answers():
            assert self.process.poll() is None, f"the server ended: {self.log()}"
            assert time.monotonic() < deadline, f"the server does not answer: {self.log()}"

    def prepare(self, players):
        self.scorer_token = token("scorer", "scorer")
        done = subprocess.run(
            [sys.executable, "-m", "flask", "--app", "bench/stock.py", "seed"],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        self.players = done.stdout.split()

    def viewer_token(self):
        return token("viewer", "viewer")


def token(user_id, role):
    """Return an access token that outlasts everything here."""
    now = int(time.time())
    claims = {"sub": user_id, "role": role, "type": "access", "jti": uuid.uuid4().hex}
    claims |= {"iat": now, "nbf": now, "exp": now + LIFETIME, "fresh": False}
    return jwt.encode(claims, SECRETS["JWT_SECRET_KEY"], "HS256")
