"""Check requirements.txt and its dependencies for known vulnerabilities: `python -m stress.audit`.

A known vulnerability is a failure. An unreachable advisory service is not; it is reported in one
line.
"""

import json
import re
import subprocess
import sys
from typing import Any

from stress import ROOT

SECONDS = 300
ASK = [sys.executable, "-m", "pip_audit", "--requirement", "requirements.txt", "--format", "json"]

# Messages of pip and pip-audit when the network is unreachable.
UNREACHABLE = re.compile(
    r"connection (broken|error|refused|reset)|connectionerror|timed? ?out", re.I
)


def main() -> None:
    lines, failed = judge(ask())
    print("\n".join(lines))
    sys.exit(failed)


def ask() -> list[dict[str, Any]] | None:
    """Return the report on each package, or None if the advisory service is unreachable.

    Raises RuntimeError if pip-audit fails for another reason.
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
    """Return the lines to print, and whether a package has a known vulnerability."""
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
