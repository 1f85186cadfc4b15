"""Deploy the committed files as Heroku does."""

import json
import os
import secrets
import shlex
import subprocess
import sys

import pytest
import requests

from tests.support import databases
from tests.support.backing_services import RedisServer
from tests.support.clones import clone
from tests.support.servers import free_port
from tests.support.waiting import wait_until


@pytest.fixture
def redis(tmp_path):
    redis = RedisServer(tmp_path)
    yield redis
    redis.stop()


def environment(folder, **settings):
    """Return the environment that app.json describes, with generated secrets."""
    described = json.loads((folder / "app.json").read_text())["env"]
    values = {
        name: secrets.token_hex(32) if spec.get("generator") == "secret" else spec.get("value")
        for name, spec in described.items()
    }
    path = f"{folder / '.heroku' / 'bin'}:{os.environ['PATH']}"
    pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    return {**{k: v for k, v in values.items() if v}, **pip, "PATH": path, **settings}


def test_the_committed_files_can_be_deployed(tmp_path, redis):
    folder = clone(tmp_path / "clone")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environ = environment(
        folder,
        PORT=str(port),
        DYNO="web.1",
        WEB_CONCURRENCY="4",
        DATABASE_URL=databases.new_postgres().replace("postgresql://", "postgres://"),
        REDIS_URL=redis.url,
        HOME=str(folder),
    )
    procfile = dict(line.split(": ", 1) for line in (folder / "Procfile").read_text().splitlines())

    def run(command):
        subprocess.run(shlex.split(command), cwd=folder, env=environ, check=True, timeout=300)

    def post(path, body, **headers):
        return requests.post(f"{url}/api/{path}", json=body, headers=headers, timeout=10)

    def is_ready():
        try:
            return requests.get(f"{url}/readyz", timeout=5).ok
        except requests.ConnectionError:
            return False

    run(f"{sys.executable} -m venv .heroku")
    run("pip install --quiet --disable-pip-version-check -r requirements.txt")
    run(procfile["release"])
    web = subprocess.Popen(shlex.split(procfile["web"]), cwd=folder, env=environ)
    try:
        wait_until(lambda: is_ready() or web.poll() is not None, seconds=30)
        ann = {"username": "ann", "password": "correct horse"}
        post("auth/register", {**ann, "email": "ann@example.com"})
        session = post("auth/login", ann).json()
        user_id = session["user_id"]
        update = {"user_id": user_id, "score_value": 120, "timestamp": "2026-01-01T00:00:00Z"}

        posted = post("score/update", update, Authorization=f"Bearer {session['access_token']}")

        assert posted.status_code == 200
        board = requests.get(f"{url}/api/score/top10", timeout=10).json()
        assert board == {"top_10_scores": [{"user_id": user_id, "score": 120}]}
    finally:
        web.terminate()
        assert web.wait(10) == 0
