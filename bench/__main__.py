"""Measure this server and its peers alternately, and print one table.

Servers run on the first core, the load on the second. A figure is the median of the rounds.
"""

import argparse
import contextlib
import os
import platform
import sys
import time

from . import submitting
from .load import Lost
from .subjects import FastApi, Node, NotInstalled, Ours, be_the_load
from .table import NAMES, Figure, Table
from .watching import memory_per_viewer, viewers_of, watch

RATE_SECONDS, WATCH_SECONDS = 3, 10  # of each measurement
VIEWERS = 1000
UPDATE_RATES = (50, 200)  # per second

UPDATES = Figure("updates/s by HTTP, 32 connections")
EVENTS = Figure("updates/s by Socket.IO event, 128 in flight")
BATCHES = Figure("updates/s in batches of 100 (peers: by HTTP, one by one)")
RATES = {
    Figure("top 10 requests/s, 32 connections"): submitting.top10_requests,
    UPDATES: submitting.updates_by_http,
    EVENTS: submitting.updates_by_event,
}
MEMORY = Figure("memory per idle viewer, KiB", less_is_better=True, digits=1)
WATCHED = {
    (rate, name): Figure(f"{label}, {VIEWERS:,} viewers, {rate} updates/s", True, 1)
    for rate in UPDATE_RATES
    for name, label in {
        "p50": "push latency p50, ms",
        "p99": "push latency p99, ms",
        "cpu": "CPU per delivery, µs",
    }.items()
}


@contextlib.contextmanager
def running(subject, kind):
    """Start a server, give every player a score, and stop the server afterwards."""
    with contextlib.closing(subject(kind)) as server:
        submitting.give_everyone_a_score(server)
        yield server


def measure_rates(table, kind, subjects, rounds):
    """Measure requests per second; each figure is measured on all servers in turn."""
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(running(subject, kind)) for subject in subjects]
        for _ in range(rounds):
            by_http = {}
            for figure, measure in RATES.items():
                for server in servers:
                    found = _or_reason(measure, server, RATE_SECONDS)
                    table.add(figure, kind, server.name, found)
                    if figure is UPDATES:
                        by_http[server] = found
            for server in servers:
                found = by_http[server]
                if server.has_batches:
                    found = _or_reason(submitting.updates_in_batches, server, RATE_SECONDS)
                table.add(BATCHES, kind, server.name, found)


def measure_viewers(table, kind, subjects, rounds):
    """Measure memory, latency and CPU of viewers, on new servers in each round."""
    for _ in range(rounds):
        for subject in subjects:
            with contextlib.closing(subject(kind)) as server:
                memory = _or_reason(memory_per_viewer, server, VIEWERS)
                table.add(MEMORY, kind, server.name, memory)
            with running(subject, kind) as server, viewers_of(server, VIEWERS) as crowd:
                reason = None
                for rate in UPDATE_RATES:
                    # After a server fails at one rate, skip the next: it still has pushes queued.
                    watched = reason or _or_reason(watch, server, crowd, rate, WATCH_SECONDS)
                    for name in ("p50", "p99", "cpu"):
                        value = getattr(watched, name, watched)
                        table.add(WATCHED[rate, name], kind, server.name, value)
                        reason = reason or (value if isinstance(value, str) else None)


def _or_reason(measure, *arguments):
    """Return the measured value, or the reason as text if the measurement failed."""
    try:
        return measure(*arguments)
    except Lost as reason:
        return str(reason)


PARTS = {"rates": measure_rates, "viewers": measure_viewers}


def installed_subjects():
    """Return our server and the peers that can be installed; print why others are skipped."""
    subjects = []
    for subject in (Ours, Node, FastApi):
        try:
            subject.set_up()
        except NotInstalled as reason:
            print(f"{subject.name} is skipped: {reason}", flush=True)
        else:
            subjects.append(subject)
    return subjects


def main():
    parser = argparse.ArgumentParser("python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=PARTS, action="append", help="a part, or several")
    parser.add_argument("--database", choices=NAMES, action="append", help="one, or several")
    options = parser.parse_args()
    databases = options.database or list(NAMES)
    subjects = installed_subjects()
    be_the_load()
    table, began, load_before = Table(), time.monotonic(), os.getloadavg()[0]
    for part in options.only or PARTS:
        for kind in databases:
            PARTS[part](table, kind, subjects, options.rounds)
    print("\n" + table.markdown(databases, [subject.name for subject in subjects]))
    print(
        f"\nPython {platform.python_version()}, {os.cpu_count()} cores, load {load_before:.1f} "
        f"before; {options.rounds} rounds in {time.monotonic() - began:.0f} s."
    )


if __name__ == "__main__":
    sys.exit(main())
