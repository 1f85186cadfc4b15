"""The benchmarks: `make bench`, or `python -m bench --help`.

They start servers with the modules of the tests, hence the path.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "tests")]
