"""Ask the advisory service about all that requirements.txt brings in: `python -m stress.audit`.

A known vulnerability is a failure. That nobody could be asked is none, and is said in one line: it
says nothing about the packages.
"""

import json
import re
import subprocess
import sys
from typing import Any

from stress import ROOT

SECONDS = 300
ASK = [sys.executable, "-m", "pip_audit", "--requirement", "requirements.txt", "--format", "json"]

# What pip and pip-audit say of a network that is not there.
UNREACHABLE = re.compile(
    r"connection (broken|error|refused|reset)|connectionerror|timed? ?out", re.I
)


def main() -> None:
    lines, failed = judge(ask())
    print("\n".join(lines))
    sys.exit(failed)


def ask() -> list[dict[str, Any]] | None:
    """Return what was found out about each package, None if nobody could be asked.

    Raises RuntimeError if there is no answer for any other reason.
    """
    try:
        done = subprocess.run(ASK, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return None
    if done.stdout.strip():
        return json.loads(done.stdout)["dependencies"]
    if UNREACHABLE.search(done.stderr):
        return None
    raise RuntimeError(f"pip-audit failed: {done.stderr}")


def judge(packages: list[dict[str, Any]] | None) -> tuple[list[str], bool]:
    """Return what to say, and whether something is wrong with a package."""
    if packages is None:
        return ["audit: the advisory service could not be asked: nothing is known"], False
    unknown = [each["name"] for each in packages if "skip_reason" in each]
    found = [
        f"audit: {each['name']} {each['version']}: {flaw['id']},"
        f" mended in {', '.join(flaw['fix_versions']) or 'no version'}"
        for each in packages
        for flaw in each.get("vulns", ())
    ]
    if len(unknown) == len(packages):
        unknown, known = [], "the advisory service knows none of them: nothing is known"
    else:
        known = f"{len(packages) - len(unknown)} have {len(found)} known vulnerabilities"
    said = [f"audit: of {len(packages)} packages, {known}"]
    if unknown:
        said.append(f"audit: not known to the advisory service: {', '.join(unknown)}")
    return [*found, *said], bool(found)


if __name__ == "__main__":
    main()
