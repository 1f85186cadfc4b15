"""Run coverage-guided fuzzing of each target for some seconds: `python -m stress.fuzz`.

`targets.py` defines the invariants. Failing inputs are saved among the seeds, which the tests
replay. Rename each after its fix.
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
INSTRUMENTED = ["scoreboard", "engineio", "socketio", "wsproto", "marshmallow"]
INPUT_TIMEOUT = 5  # seconds; a longer run is also a finding
MAX_INPUT_SIZE = 4096


def main():
    """Fuzz the selected targets, one after another; exit with 1 if there are findings."""
    parser = argparse.ArgumentParser(prog="python -m stress.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--target", choices=TARGETS, action="append")
    parser.add_argument("--in-process", action="store_true", help=argparse.SUPPRESS)
    options, rest = parser.parse_known_args()
    if options.in_process:
        _fuzz_in_process(options.target[0], rest)
    findings = [fuzz(target, options.seconds) for target in options.target or TARGETS]
    sys.exit(any(findings))


def fuzz(target, seconds):
    """Fuzz the target in its own process and print the outcome. Returns whether it failed."""
    with tempfile.TemporaryDirectory() as corpus:
        shutil.copytree(SEEDS / target, corpus, dirs_exist_ok=True)
        options = [
            f"-max_total_time={seconds}",
            f"-timeout={INPUT_TIMEOUT}",
            f"-max_len={MAX_INPUT_SIZE}",
            f"-artifact_prefix={SEEDS / target}{os.sep}",
            "-print_final_stats=1",
            corpus,
        ]
        arguments = f"-m stress.fuzz --in-process --target {target}".split()
        command = [sys.executable, *arguments, *options]
        # The timeout is far above -max_total_time, for a process that hangs.
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 120)
    output = re.sub("INFO: .*\n", "", done.stderr) + done.stdout
    count = re.search(r"number_of_executed_units: *(\d+)", output)
    print(f"{target}: {count[1] if count else 'no'} inputs in {seconds} s", end="")
    print("" if done.returncode == 0 else f", failed:\n{output[-4000:]}", flush=True)
    return done.returncode != 0


def _fuzz_in_process(target, options):
    """Fuzz in this process. Does not return: the fuzzer ends the process."""
    import atheris

    with atheris.instrument_imports(include=INSTRUMENTED):
        from . import targets
    atheris.Setup([sys.argv[0], *options], targets.TARGETS[target])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
