"""Run each flood against a server, and print how its legitimate clients are served.

Exits with 1 if a response or a message was lost, memory grew beyond its bound, a connection was not
closed within a minute, or the log has a traceback. Times depend on the machine and are not judged.
"""

import argparse
import sys

from bench.subjects import be_the_load

from .clients import FLOODS
from .measure import MIB, measure, percentile


def report(found):
    """Return the results of a flood as text."""
    lines = [f"## {found.name}: {FLOODS[found.name].__doc__.strip()}"]
    for what, flooded in found.flooded.items():
        cells = [
            f"p{cut} {percentile(found.quiet[what], cut) * 1000:6.1f} -> "
            f"{percentile(flooded, cut) * 1000:8.1f} ms"
            for cut in (50, 99)
        ]
        lines.append(f"  {what:15} {'   '.join(cells)}   {len(flooded):,} while flooded")
    before, most = (size / MIB for size in found.memory)
    closed = "never" if found.closed_after is None else f"after {found.closed_after:.1f} s"
    counts = ", ".join(f"{what}: {count:,}" for what, count in sorted(found.counts.items()))
    lines += [
        f"  memory before/peak {before:.0f}/{most:.0f} MiB; all closed {closed}",
        f"  the flood: {counts}",
        *(f"  FAILED: {failure}" for failure in found.failures),
    ]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser("python -m stress.floods", description=__doc__)
    parser.add_argument("--only", choices=FLOODS, action="append", help="a flood, or several")
    parser.add_argument("--seconds", type=float, default=8, help="of each phase")
    options = parser.parse_args()
    be_the_load()
    failed = []
    for name in options.only or FLOODS:
        found = measure(name, options.seconds)
        print(report(found), flush=True)
        failed += [name] if found.failures else []
    print(f"\nfailed: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
