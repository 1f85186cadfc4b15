"""Run coverage-guided fuzzing of each target for some seconds: `python -m stress.fuzz`.

Failing inputs are saved among the seeds, where the tests replay them. Rename each after its fix.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SEEDS = Path(__file__).parent / "seeds"
TARGETS = sorted(folder.name for folder in SEEDS.iterdir())
# Packages that are instrumented for coverage.
WATCHED = ["scoreboard", "engineio", "socketio", "wsproto", "marshmallow"]
# Per input; a longer run is also a finding.
MOST_SECONDS = 5
LONGEST_INPUT = 4096


def main() -> None:
    """Fuzz the selected targets, one after another; exit with 1 if there are findings."""
    parser = argparse.ArgumentParser(prog="python -m stress.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--target", choices=TARGETS, action="append")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    asked, rest = parser.parse_known_args()
    if asked.inside:
        _fuzz(asked.target[0], rest)
    found = [fuzzed(target, asked.seconds) for target in asked.target or TARGETS]
    sys.exit(any(found))


def fuzzed(target: str, seconds: int, seeds: Path = SEEDS) -> bool:
    """Fuzz the target in its own process and print the outcome. Returns whether it failed."""
    with tempfile.TemporaryDirectory() as corpus:
        shutil.copytree(seeds / target, corpus, dirs_exist_ok=True)
        options = [
            f"-max_total_time={seconds}",
            f"-timeout={MOST_SECONDS}",
            f"-max_len={LONGEST_INPUT}",
            f"-artifact_prefix={seeds / target}{os.sep}",
            "-print_final_stats=1",
            corpus,
        ]
        command = [sys.executable, "-m", "stress.fuzz", "--inside", "--target", target, *options]
        # The timeout is far above -max_total_time, for a process that hangs.
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 120)
    told = re.sub("INFO: .*\n", "", done.stderr) + done.stdout
    count = re.search(r"number_of_executed_units: *(\d+)", told)
    print(f"{target}: {count[1] if count else 'no'} inputs in {seconds} s", end="")
    print("" if done.returncode == 0 else f", a finding:\n{told[-4000:]}", flush=True)
    return done.returncode != 0


def _fuzz(target: str, options: list[str]) -> None:
    """Fuzz in this process. Does not return: the fuzzer ends the process."""
    import atheris

    with atheris.instrument_imports(include=WATCHED):
        from . import targets
    atheris.Setup([sys.argv[0], *options], targets.TARGETS[target])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
