"""Set the system clock of running child processes, with libfaketime."""

import glob
import os
from pathlib import Path

from tests.support.prerequisites import missing

PLACES = "/usr/lib/*/faketime", "/usr/lib/faketime", "/usr/local/lib/faketime"
HOUR = 3600


class Clock:
    """The system clock of processes started with `environment`; not their monotonic clock."""

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
        """Set the clock to this many seconds ahead of the real one."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+}")
        os.replace(new, self._file)  # atomic: processes may read it at any time
