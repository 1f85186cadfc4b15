"""Flood the server in every way we know, and print what its legitimate clients notice of it.

Ends with 1 if an answer or a message was lost, memory grew beyond its bound, something was not let
go of within a minute, or the log has a traceback. How much slower it got is told and not judged:
that depends on the machine, and is compared within one run.
"""

import argparse
import sys

from bench.subjects import be_the_load

from .attack import FLOODS
from .measure import MIB, measure, percentile


def told(found):
    """Return what came of a flood, in lines."""
    lines = [f"## {found.name}: {(FLOODS[found.name].__doc__ or '').strip()}"]
    if found.flooded:
        lines += [_times(found, what) for what in found.quiet]
        came, went = found.arrival * 1000, found.parting * 1000
        lines += [
            f"  the slowest update while it came: {came:.0f} ms, while it went: {went:.0f} ms"
        ]
    sizes = "/".join(f"{size / MIB:.0f}" for size in found.resident)
    counts = ", ".join(f"{what}: {count:,}" for what, count in sorted(found.counts.items()))
    lines += [
        f"  memory before/peak/after {sizes} MiB; server's CPU {found.cpu:.0%} of a core",
        "  before/peak/after: connections {}/{}/{}, sockets {}/{}/{}, files {}/{}/{}".format(
            *found.connections, *found.sockets, *found.files
        ),
        f"  let go after {'?' if found.let_go is None else f'{found.let_go:.1f} s'}",
        f"  the flood: {counts}",
        *(f"  FAILED: {failure}" for failure in found.failures),
    ]
    return "\n".join(lines)


def _times(found, what):
    quiet, flooded = found.quiet[what], found.flooded[what]
    cells = [
        f"p{cut} {percentile(quiet, cut) * 1000:6.1f} -> {percentile(flooded, cut) * 1000:8.1f} ms "
        f"(x {found.ratio(what, cut):5.2f})"
        for cut in (50, 99)
    ]
    return f"  {what:15} {'   '.join(cells)}   {len(flooded):,} while flooded"


def main():
    parser = argparse.ArgumentParser("python -m stress.floods", description=__doc__)
    parser.add_argument("--only", choices=FLOODS, action="append", help="a flood, or several")
    parser.add_argument("--seconds", type=float, default=8, help="of each phase")
    parser.add_argument("--rounds", type=int, default=2, help="quiet and flooded by turns")
    options = parser.parse_args()
    be_the_load()
    failed = []
    for name in options.only or FLOODS:
        found = measure(name, options.seconds, options.rounds)
        print(told(found), flush=True)
        failed += [name] if found.failures else []
    print(f"\nfailed: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
