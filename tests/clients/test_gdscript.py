"""The style of the client for Godot, and of the code in its guide."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients.godot_engine import CLIENT, PROGRAM, guide_scripts
from tests.support.prerequisites import missing

PROGRAMS = Path(sys.executable).parent


@pytest.mark.parametrize("command", [["gdlint"], ["gdformat", "--check", "--line-length=100"]])
def test_the_scripts_are_formatted_and_linted(tmp_path, command):
    if not (PROGRAMS / command[0]).exists():
        missing("gdtoolkit is not installed")
    scripts = [CLIENT, PROGRAM]
    for name, code in guide_scripts().items():
        scripts.append(tmp_path / name)
        scripts[-1].write_text(code)

    result = subprocess.run(
        [PROGRAMS / command[0], *command[1:], *scripts], capture_output=True, text=True
    )

    assert result.returncode == 0, result.stdout + result.stderr
