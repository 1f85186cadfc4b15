"""Clocks of other programs, for the tests to set back and forward while they run."""

import glob
import os
from pathlib import Path

from tests.support.prerequisites import missing

PLACES = "/usr/lib/*/faketime", "/usr/lib/faketime", "/usr/local/lib/faketime"
HOUR = 3600


class Clock:
    """The wall clock of the programs that are started with this `environment`, by libfaketime.

    What measures how much time has passed is left alone, as when a machine's clock is set.
    """

    def __init__(self, file: Path) -> None:
        found = [path for place in PLACES for path in glob.glob(f"{place}/libfaketimeMT.so.1")]
        if not found:
            missing("libfaketime is not installed")
        self._file = file
        self.environment = {
            "LD_PRELOAD": found[0],
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        self.set(0)

    def set(self, seconds: int) -> None:
        """Have it show so many seconds more than it is, or less."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+}")
        os.replace(new, self._file)  # at once: they may read it any moment
