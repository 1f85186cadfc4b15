"""Benchmarks: `make bench`, or `python -m bench --help`."""

from pathlib import Path

ROOT = Path(__file__).parent.parent
