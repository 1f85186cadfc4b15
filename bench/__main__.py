"""Measure this server and its peers alternately, and print one table.

Servers run on the first core, the load on the second. A figure is the median of the rounds.
"""

import argparse
import contextlib
import os
import platform
import sys
import time

from . import rates
from .boards import measure_boards
from .clients import MeasurementFailed
from .contract import check_contract
from .pushes import measure_pushes, memory_per_subscriber, subscribed
from .servers import FastApi, Node, NotInstalled, Ours, prepare_load_process
from .table import NAMES, Figure, Table

RATE_SECONDS, PUSH_SECONDS = 3, 10  # of each measurement
SUBSCRIBERS = 1000
UPDATE_RATES = (50, 200)  # per second

RATES = {
    Figure("top 10 requests/s, 32 connections"): rates.top10_requests,
    Figure("updates/s by HTTP, 32 connections"): rates.updates_by_http,
    Figure("updates/s by Socket.IO event, 128 in flight"): rates.updates_by_event,
    Figure("updates/s in batches of 100 (peers: by HTTP, one by one)"): rates.updates_in_batches,
}
MEMORY = Figure("memory per idle subscriber, KiB", less_is_better=True, digits=1)
PUSHES = {
    (rate, name): Figure(f"{label}, {SUBSCRIBERS:,} subscribers, {rate} updates/s", True, 1)
    for rate in UPDATE_RATES
    for name, label in {
        "p50": "push latency p50, ms",
        "p99": "push latency p99, ms",
        "cpu": "CPU per delivery, µs",
    }.items()
}


@contextlib.contextmanager
def running(server_class, database):
    """Start a server, check it, give every player a score, and stop the server afterwards."""
    with contextlib.closing(server_class(database)) as server:
        check_contract(server)
        rates.give_all_players_a_score(server)
        yield server


def measure_rates(table, database, server_classes, rounds):
    """Measure requests per second; each figure is measured on one server after the other."""
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(running(each, database)) for each in server_classes]
        for _ in range(rounds):
            for figure, measure in RATES.items():
                for server in servers:
                    value = _or_reason(measure, server, RATE_SECONDS)
                    table.add(figure, database, server.name, value)


def measure_subscribers(table, database, server_classes, rounds):
    """Measure memory, latency and CPU of subscribers, on new servers in each round."""
    for _ in range(rounds):
        for server_class in server_classes:
            with contextlib.closing(server_class(database)) as server:
                memory = _or_reason(memory_per_subscriber, server, SUBSCRIBERS)
                table.add(MEMORY, database, server.name, memory)
            with running(server_class, database) as server, subscribed(server, SUBSCRIBERS) as pool:
                reason = None
                for rate in UPDATE_RATES:
                    # After a server fails at one rate, skip the next: it still has pushes queued.
                    figures = reason or _or_reason(measure_pushes, server, pool, rate, PUSH_SECONDS)
                    for name in ("p50", "p99", "cpu"):
                        value = getattr(figures, name, figures)
                        table.add(PUSHES[rate, name], database, server.name, value)
                        reason = reason or (value if isinstance(value, str) else None)


def _or_reason(measure, *arguments):
    """Return the measured value, or the reason as text if the measurement failed."""
    try:
        return measure(*arguments)
    except MeasurementFailed as reason:
        return str(reason)


PARTS = {
    "rates": measure_rates,
    "subscribers": measure_subscribers,
    "boards": measure_boards,
}


def installed_servers():
    """Return our server and the peers that can be installed; print why others are skipped."""
    installed = []
    for server_class in (Ours, Node, FastApi):
        try:
            server_class.set_up()
        except NotInstalled as reason:
            print(f"{server_class.name} is skipped: {reason}", flush=True)
        else:
            installed.append(server_class)
    return installed


def main():
    parser = argparse.ArgumentParser("python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=PARTS, action="append", help="a part, or several")
    parser.add_argument("--database", choices=NAMES, action="append", help="one, or several")
    options = parser.parse_args()
    databases = options.database or list(NAMES)
    servers = installed_servers()
    prepare_load_process()
    table, started_at, load_before = Table(), time.monotonic(), os.getloadavg()[0]
    for part in options.only or PARTS:
        for database in databases:
            PARTS[part](table, database, servers, options.rounds)
    print("\n" + table.markdown(databases, [each.name for each in servers]))
    print(
        f"\nPython {platform.python_version()}, {os.cpu_count()} cores, load {load_before:.1f} "
        f"before; {options.rounds} rounds in {time.monotonic() - started_at:.0f} s."
    )


if __name__ == "__main__":
    sys.exit(main())
