"""Clones of the repository, to test the committed files."""

import subprocess
from pathlib import Path

from tests.support.prerequisites import missing
from tests.support.servers import ROOT


def clone(folder: Path) -> Path:
    """Clone the committed files into this folder and return it."""
    result = subprocess.run(["git", "clone", "-q", str(ROOT), str(folder)], capture_output=True)
    if result.returncode:
        missing("not a git checkout")
    return folder
