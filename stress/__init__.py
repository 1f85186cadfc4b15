"""What tries to break the server: kills, floods, hostile input, an hour of everything."""

import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent

# Servers, databases and viewers are those of the tests.
sys.path.insert(0, str(ROOT / "tests"))
