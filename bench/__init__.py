"""Benchmarks: `make bench`, or `python -m bench --help`.

They start servers with the test modules, so `tests` is added to the import path.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "tests")]
