"""Stress tests: killed processes, floods, fuzzing, and a soak test of an hour."""

import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent

# The stress tests use the servers, databases and viewers of the unit tests.
sys.path.insert(0, str(ROOT / "tests"))
