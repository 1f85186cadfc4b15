"""A real server process for the tests: its own port, its own database, ended by its own pid."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import requests

ROOT = Path(__file__).parent.parent
SECRETS = {"SECRET_KEY": "s" * 48, "JWT_SECRET_KEY": "j" * 48}
PASSWORD = "correct horse"
RUN_MODES = ["python wsgi.py", "flask run"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """`python wsgi.py` or `flask run` on a database of its own."""

    def __init__(self, folder: Path, mode: str = "python wsgi.py", **settings: str) -> None:
        self.mode = mode
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log_file = folder / "server.log"
        self.session = requests.Session()
        self.environment = {
            "PATH": os.environ["PATH"],
            "DATABASE_URL": f"sqlite:///{folder}/scoreboard.db",
            "PORT": str(self.port),
            "SCORE_RATE_LIMIT": "1000000/minute",
            "AUTH_RATE_LIMIT": "1000000/minute",
            **SECRETS,
            **settings,
        }
        self.start()

    def start(self) -> None:
        command = {
            "python wsgi.py": [sys.executable, "wsgi.py"],
            "flask run": [sys.executable, "-m", "flask", "run", "--port", str(self.port)],
        }[self.mode]
        with self.log_file.open("a") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=self.environment, stdout=log, stderr=log
            )
        deadline = time.monotonic() + 20
        while not self._answers():
            assert self.process.poll() is None, f"the server ended: {self.log()}"
            assert time.monotonic() < deadline, f"the server does not answer: {self.log()}"

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/api/score/top10", timeout=5).ok
        except requests.ConnectionError:
            self.process_wait(0.05)
            return False

    def process_wait(self, seconds: float) -> None:
        """Wait for the process to end, at most this long."""
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

    def flask(self, *arguments: str, **options: object) -> str:
        """Run `flask --app scoreboard ...` on this server's database and return what it prints."""
        done = subprocess.run(
            [sys.executable, "-m", "flask", "--app", "scoreboard", *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            **options,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def user(self, name: str, role: str = "player") -> "Person":
        """Create a user and return it with a token."""
        body = {"username": name, "email": f"{name.lower()}@example.com", "password": PASSWORD}
        answer = requests.post(f"{self.url}/api/auth/register", json=body, timeout=10)
        assert answer.status_code == 201, answer.text
        if role != "player":
            self.flask("users", "role", name, role)
        return Person(answer.json()["user_id"], self.sign_in(name)["access_token"])

    def sign_in(self, name: str) -> dict:
        body = {"username": name, "password": PASSWORD}
        return requests.post(f"{self.url}/api/auth/login", json=body, timeout=10).json()

    def post(self, token: str, update: dict) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}"}
        return requests.post(
            f"{self.url}/api/score/update", json=update, headers=headers, timeout=30
        )

    def top10(self) -> list[dict]:
        return requests.get(f"{self.url}/api/score/top10", timeout=10).json()["top_10_scores"]


class Person:
    """A user of the tests, with a token."""

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
