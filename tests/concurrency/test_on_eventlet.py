"""Run the tests of the runtime, and of what depends on it, on eventlet as well."""

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
    command = ["-m", "tests.support.pytest_on_eventlet", "--basetemp", tmp_path / "green", *tests]

    run = subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, timeout=120
    )

    assert run.returncode == 0, run.stdout + run.stderr
    assert "skipped" not in run.stdout
