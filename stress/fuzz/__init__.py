"""Fuzz the application in this process: `python -m stress.fuzz --help`.

`targets.py` defines the invariants for any input; `seeds/` has the initial inputs and those that
once failed. `tests/stress/test_fuzz.py` replays the seeds.
"""
