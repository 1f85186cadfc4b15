"""The benchmarks: `make bench`, or `python -m bench --help`.

They start their servers as the tests do, hence the path.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "tests")]
