"""What is tested of sockets with threads holds on eventlet as well, of which much is relied on."""

import subprocess
import sys

import pytest

from tests.support.servers import ROOT


@pytest.mark.parametrize(
    "tests",
    [
        ["tests/concurrency/eventlet_hub.py"],
        ["tests/realtime/test_websocket.py"],
        ["tests/realtime/test_engine.py"],
    ],
    ids=["hub", "websocket", "engine"],
)
def test_on_eventlet(tests, tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.support.pytest_on_eventlet",
            "--basetemp",
            tmp_path / "green",
            *tests,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout
