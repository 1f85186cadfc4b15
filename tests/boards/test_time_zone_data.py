"""Seasons work on hosts without time zone data: the package tzdata has it."""

import os
import subprocess
import sys

from tests.support.servers import ROOT

PROGRAM = """
import zoneinfo
from datetime import UTC, datetime
from scoreboard.boards.seasons import Reset, is_time_zone, next_boundary

assert not zoneinfo.TZPATH
assert is_time_zone("Europe/Vienna") and not is_time_zone("Europe")
reset = Reset("day", None, "02:30", "Europe/Vienna")
print(next_boundary(reset, datetime(2026, 3, 28, 12, tzinfo=UTC)))
"""


def test_a_boundary_is_found_with_the_package_alone():
    command, environment = [sys.executable, "-c", PROGRAM], {**os.environ, "PYTHONTZPATH": ""}

    program = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)

    assert (program.stdout, program.stderr) == ("2026-03-29 01:00:00+00:00\n", "")
