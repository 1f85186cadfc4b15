"""Commands say which database they work on, and work on the server's own."""

import os
import subprocess
import sys

import pytest

from scoreboard.cli import client
from tests.support.servers import ROOT, SECRETS


@pytest.mark.parametrize(
    "command", [("users", "list"), ("boards", "list"), ("doctor",), ("simulate", "--board", "x")]
)
def test_a_command_says_which_database_it_works_on(app, database_url, command):
    result = app.test_cli_runner().invoke(args=command)

    line, *_ = result.stderr.splitlines()
    assert line.startswith("database: ")
    assert line.rpartition("/")[2] == database_url.rpartition("/")[2]
    assert "database: " not in result.stdout


def test_a_password_of_the_database_is_not_shown(tmp_path):
    url = "postgres://ann:secret@127.0.0.1:1/scores?password=secret"
    environment = {"PATH": os.environ["PATH"], "DATABASE_URL": url, **SECRETS}

    result = subprocess.run(
        [sys.executable, "-m", "flask", "--app", "scoreboard", "users", "list"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert "database: postgresql+psycopg://ann:***@127.0.0.1:1/scores\n" in result.stderr
    assert "secret" not in result.stdout + result.stderr


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({}, "http://127.0.0.1:5000"),
        ({"PORT": "8080"}, "http://127.0.0.1:8080"),
        ({"HOST": "0.0.0.0", "PORT": "8080"}, "http://127.0.0.1:8080"),
        ({"HOST": "192.0.2.7"}, "http://192.0.2.7:5000"),
        ({"HOST": "::1"}, "http://[::1]:5000"),
    ],
)
def test_commands_post_to_the_server_of_the_same_settings(make_app, settings, url):
    with make_app(**settings).app_context():
        assert client.own_url() == url
