"""Redis and PostgreSQL servers that a test can stop, pause and restart."""

import contextlib
import glob
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psycopg
import redis

from tests.support.prerequisites import missing
from tests.support.servers import free_port


class RedisServer:
    """A `redis-server` process."""

    def __init__(self, folder: Path) -> None:
        if not shutil.which("redis-server"):
            missing("redis-server is not installed")
        self.folder = folder
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.client = redis.Redis(port=self.port, socket_timeout=5)
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""],
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 10
        while True:
            with contextlib.suppress(redis.ConnectionError):
                self.client.ping()
                return
            assert time.monotonic() < deadline, "redis-server does not respond"
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.05)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def pause(self, seconds: float) -> None:
        """Keep connections open but respond to no command."""
        self.client.execute_command("CLIENT", "PAUSE", int(seconds * 1000), "ALL")


class PostgresServer:
    """A PostgreSQL server with a new data folder."""

    def __init__(self, folder: Path) -> None:
        programs = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))
        found = shutil.which("initdb") or (programs[-1] if programs else None)
        if not found:
            missing("the PostgreSQL server programs are not installed")
        self.programs = Path(found).parent
        self.port = free_port()
        self.data = folder / "data"
        self.url = f"postgresql://owner@127.0.0.1:{self.port}/postgres"
        self.data.mkdir(mode=0o700)
        if os.geteuid() == 0:  # Postgres refuses to run as root
            shutil.chown(self.data, "postgres", "postgres")
            for parent in (folder, *folder.parents[:3]):
                if parent != Path("/tmp"):
                    parent.chmod(0o755)
        self._run("initdb", "-D", self.data, "-U", "owner", "--auth=trust")
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=''"
        self._run("pg_ctl", "-D", self.data, "-w", "-l", self.data / "log", "-o", options, "start")

    def restart(self) -> None:
        """Close every connection and restart."""
        self._run("pg_ctl", "-D", self.data, "-w", "-m", "immediate", "restart")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", self.data, "-w", "-m", "immediate", "stop")

    def pause(self) -> None:
        """Keep connections open but respond to nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Continue after a pause."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        postmaster = int((self.data / "postmaster.pid").read_text().splitlines()[0])
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        for pid in (postmaster, *map(int, children)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(self.url, autocommit=True)

    def _run(self, program: str, *arguments: object) -> None:
        as_postgres = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        subprocess.run(
            [*as_postgres, str(self.programs / program), *map(str, arguments)],
            cwd="/",
            check=True,
            timeout=60,
            stdout=subprocess.DEVNULL,
        )
