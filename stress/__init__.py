"""Stress tests: killed processes, floods, fuzzing, and a soak test of an hour."""

from pathlib import Path

ROOT = Path(__file__).parent.parent
