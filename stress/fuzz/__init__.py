"""Hostile input by the thousand, in process: `python -m stress.fuzz --help`.

`targets.py` says what must hold, whatever comes; `seeds/` has what it starts from and what broke it
once. `tests/test_fuzz.py` replays these with every run of the tests.
"""
