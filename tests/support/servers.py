"""Server processes for the tests, each with its own port, database and log."""

import contextlib
import http.client
import itertools
import json
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests

from tests.support import zygote
from tests.support.sql import query
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
SECRETS = {"SECRET_KEY": "seasonal" * 6, "JWT_SECRET_KEY": "journals" * 6}
PASSWORD = "correct horse"
RUN_MODES = ["python wsgi.py", "flask run"]


def free_port() -> int:
    """Return an unused port below the range that the kernel assigns to clients."""
    while True:
        port = random.randrange(10_000, 32_000)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("", port))
            return port


class Server:
    """A process of `python wsgi.py` or `flask run`, by default with a new SQLite database.

    It is forked from a process that has imported the application, unless `is_forked` is False.
    """

    is_forked = True

    def __init__(
        self,
        folder: Path,
        mode: str = "python wsgi.py",
        max_open_files: int | None = None,
        **settings: str,
    ) -> None:
        """Start a server with these settings. Returns when it responds."""
        self.mode, self.max_open_files = mode, max_open_files
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log_file = folder / "server.log"
        self.connection: http.client.HTTPConnection | None = None
        self.environment = {
            "PATH": os.environ["PATH"],
            "DATABASE_URL": f"sqlite:///{folder}/scoreboard.db",
            "PYTHONUNBUFFERED": "1",
            "PORT": str(self.port),
            "SCORE_RATE_LIMIT": "1000000/minute",
            "AUTH_RATE_LIMIT": "1000000/minute",
            "VIEWER_RATE_LIMIT": "1000000/minute",
            "METRICS_PUBLIC": "1",
            **SECRETS,
            **settings,
        }
        self.start()

    def start(self) -> None:
        self.process = self._begin(self.command(), self.log_file, self.log_file)
        if self.max_open_files:
            limit = (self.max_open_files, self.max_open_files)
            resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE, limit)
        deadline = time.monotonic() + 60
        while not self._responds():
            assert self.process.poll() is None, f"the server ended: {self.log()}"
            assert time.monotonic() < deadline, f"the server does not respond: {self.log()}"

    def _begin(
        self, command: list[str], stdout: Path, stderr: Path
    ) -> "subprocess.Popen | zygote.Forked":
        """Start `python` with this command, writing to these files."""
        if self.is_forked and zygote.can_fork(command, self.environment):
            return zygote.fork(command, self.environment, stdout, stderr)
        with stdout.open("a") as out, stderr.open("a") as err:
            return subprocess.Popen(
                [sys.executable, *command], cwd=ROOT, env=self.environment, stdout=out, stderr=err
            )

    def command(self) -> list[str]:
        """Return the arguments of `python`."""
        return {
            "python wsgi.py": ["wsgi.py"],
            "flask run": ["-m", "flask", "run", "--port", str(self.port)],
        }[self.mode]

    def _responds(self) -> bool:
        try:
            return requests.get(f"{self.url}/api/score/top10", timeout=5).ok
        except requests.ConnectionError:
            self.process_wait(0.05)
            return False

    def process_wait(self, seconds: float) -> None:
        """Wait until the process ends or the time is over."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process_wait(10)
        if self.process.poll() is None:
            self.kill()

    def log(self) -> str:
        return self.log_file.read_text()

    def flask(self, *arguments: str) -> str:
        """Run `flask --app scoreboard ...` with this server's settings; return its output."""
        command = ["-m", "flask", "--app", "scoreboard", *arguments]
        with tempfile.TemporaryDirectory() as folder:
            output, errors = Path(folder) / "output", Path(folder) / "errors"
            process = self._begin(command, output, errors)
            try:
                assert process.wait(120) == 0, errors.read_text()
            finally:
                process.send_signal(signal.SIGKILL)
            return output.read_text()

    def execute(self, statement: str) -> None:
        """Run a statement in this server's database."""
        query(self.environment["DATABASE_URL"], statement)

    def user(self, name: str, role: str = "player") -> "SignedInUser":
        """Create a user and return it with a token."""
        body = {"username": name, "email": f"{name.lower()}@example.com", "password": PASSWORD}
        response = requests.post(f"{self.url}/api/auth/register", json=body, timeout=10)
        assert response.status_code == 201, response.text
        if role != "player":
            # A second faster than `flask users role`.
            self.execute(f"UPDATE users SET role = '{role}' WHERE username = '{name}'")
        return SignedInUser(response.json()["user_id"], self.sign_in(name)["access_token"])

    def sign_in(self, name: str) -> dict:
        body = {"username": name, "password": PASSWORD}
        return requests.post(f"{self.url}/api/auth/login", json=body, timeout=10).json()

    def post(self, token: str, update: dict) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}"}
        return requests.post(
            f"{self.url}/api/score/update", json=update, headers=headers, timeout=30
        )

    def send(self, token: str, update: dict) -> tuple[int, dict]:
        """Post an update over a kept connection; return status and body. Faster than `post`."""
        if self.connection is None:
            self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            self.connection.connect()
            self.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self.connection.request("POST", "/api/score/update", json.dumps(update), headers)
        response = self.connection.getresponse()
        body = json.loads(response.read())
        if response.will_close:
            self.connection = None
        return response.status, body

    def top10(self) -> list[dict]:
        return requests.get(f"{self.url}/api/score/top10", timeout=10).json()["top_10_scores"]


def start_servers(folder: Path, count: int = 3, **settings: str) -> list[Server]:
    """Start processes with the same settings at the same time."""
    folders = [folder / str(number) for number in range(count)]
    for path in folders:
        path.mkdir()
    with ThreadPoolExecutor(count) as executor:
        return list(executor.map(lambda path: Server(path, **settings), folders))


def stop_all(servers: list[Server]) -> None:
    """Stop the servers at the same time."""
    with ThreadPoolExecutor(len(servers)) as executor:
        list(executor.map(Server.stop, servers))


class ServerGroup:
    """Processes used as one server: clients subscribe to the first and post to the others."""

    def __init__(self, servers: list[Server]) -> None:
        self.servers = servers
        self.url, self.port = servers[0].url, servers[0].port
        self.user, self.sign_in, self.flask = servers[0].user, servers[0].sign_in, servers[0].flask
        self._next_server = itertools.cycle(servers[1:])

    def post(self, token: str, update: dict) -> requests.Response:
        return next(self._next_server).post(token, update)

    def top10(self) -> list[dict]:
        """Return the top 10 once all processes return the same one."""
        boards: list[list[dict]] = []

        def agree() -> bool:
            boards[:] = [server.top10() for server in self.servers]
            return all(board == boards[0] for board in boards)

        wait_until(agree)
        return boards[0]

    def log(self) -> str:
        return "".join(server.log() for server in self.servers)

    def stop(self) -> None:
        stop_all(self.servers)


class SignedInUser:
    """A user with an access token."""

    def __init__(self, user_id: str, token: str) -> None:
        self.user_id = user_id
        self.token = token
        self.bearer = {"Authorization": f"Bearer {token}"}

    def update(self, score_value: float, timestamp: str = "2026-01-01T00:00:00Z", **more) -> dict:
        return {
            "user_id": self.user_id,
            "score_value": score_value,
            "timestamp": timestamp,
            **more,
        }
