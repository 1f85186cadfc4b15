"""Measure and print the table of the README: `python -m bench --help`."""

import argparse
import contextlib
import os
import platform
import sys
import time

from . import submitting
from .boards import SIZES, Board
from .delivering import TOGETHER, cpu_a_delivery, memory_a_viewer
from .kinds import Plain, SocketIo
from .load import Lost
from .subjects import Ours, Stock, be_the_load
from .table import LESS, NEITHER, Figure, Table
from .watching import watch

SUBJECTS = (Ours, Stock)
VIEWERS = (1, 100, 1000, 5000)
SECONDS = 3  # of each measurement of a rate
RATE, WATCH_SECONDS, WATCHERS = 200, 30, 1000


@contextlib.contextmanager
def running(subject, kind):
    """Start a server with a full board, and end it."""
    server = subject(kind)
    try:
        submitting.give_everyone_a_score(server)
        yield server
    finally:
        server.stop()


def submit(table, kind, rounds):
    """Updates and questions a second."""
    figures = {
        submitting.updates_by_http: Figure("updates/s by HTTP, 32 connections"),
        submitting.updates_by_event: Figure("updates/s by Socket.IO event, 128 in flight"),
        submitting.updates_in_batches: Figure("updates/s in batches of 100, 4 connections"),
        submitting.top10_a_second: Figure("top 10 requests/s, 32 connections"),
        submitting.top10_a_second_while_busy: Figure("the same while 50 updates/s are made"),
    }
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(running(subject, kind)) for subject in SUBJECTS]
        for _ in range(rounds):
            for measure, figure in figures.items():
                for server in servers:
                    if measure is submitting.updates_in_batches and not server.has_batches:
                        continue
                    with told(table, figure, kind, server):
                        table.add(figure, kind, server.name, measure(server, SECONDS))
    times_http(table, kind, figures)


def times_http(table, kind, figures):
    """Compare what is not HTTP with the stock way's HTTP: there it has no better way."""
    http = figures[submitting.updates_by_http]
    for measure in (submitting.updates_by_event, submitting.updates_in_batches):
        ours = table.middle(figures[measure], kind, Ours.name)
        stock = table.middle(http, kind, Stock.name)
        if ours and stock:
            figure = Figure(f"… {figures[measure].label} ÷ the stock way's by HTTP", NEITHER, 1)
            table.add(figure, kind, Ours.name, ours / stock)


def deliver(table, kind, rounds):
    """CPU a delivery, and memory with the most viewers."""
    resident = Figure("memory of the process with 5,000 viewers, MiB", LESS)
    for _ in range(rounds):
        for subject in SUBJECTS:
            with running(subject, kind) as server, told(table, resident, kind, server):
                for viewers in VIEWERS:
                    costs, held = cpu_a_delivery(server, viewers)
                    for volley, cost in costs.items():
                        how = "single updates" if volley == 1 else f"{TOGETHER} together"
                        label = f"CPU a delivery, viewers: {viewers:,}, {how}, µs"
                        table.add(Figure(label, LESS, 2), kind, server.name, cost)
                table.add(resident, kind, server.name, held / 1024 / 1024)


def remember(table, kind, rounds):
    """Memory of idle viewers."""
    for _ in range(rounds):
        for viewer, name in ((SocketIo, "Socket.IO"), (Plain, "WebSocket")):
            figure = Figure(f"memory an idle viewer, {name}, KiB", LESS, 1)
            for subject in SUBJECTS:
                if viewer is Plain and not subject.has_plain_websocket:
                    continue
                with running(subject, kind) as server, told(table, figure, kind, server):
                    cost = memory_a_viewer(server, WATCHERS, viewer)
                    table.add(figure, kind, server.name, cost)


def watched(table, kind, rounds):
    """A thousand viewers through 200 updates a second, and with one that stops reading."""
    for _ in range(rounds):
        for subject, stops in ((Ours, False), (Stock, False), (Ours, True)):
            what = f"{WATCHERS:,} viewers × {RATE} updates/s for {WATCH_SECONDS} s"
            what += ", one stops reading" if stops else ""
            delivered = Figure(f"{what}: delivered", NEITHER)
            with running(subject, kind) as server, told(table, delivered, kind, server):
                found = watch(server, WATCHERS, RATE, WATCH_SECONDS, stops)
                table.add(delivered, kind, server.name, found.in_words())
                for label, value in (
                    ("post to push p50, ms", found.p50),
                    ("post to push p99, ms", found.p99),
                    ("latest post behind schedule, ms", found.late),
                    ("growth of the process, MiB", found.grown),
                ):
                    figure = Figure(f"{what}: {label}", LESS, 1)
                    table.add(figure, kind, server.name, value)


def boards(table, kind, rounds):
    """The top 10 of small and large boards."""
    with contextlib.ExitStack() as stack:
        sizes = {size: stack.enter_context(contextlib.closing(Board(kind, size))) for size in SIZES}
        for _ in range(rounds):
            for size, board in sizes.items():
                query = Figure(f"top 10 of {size:,} users: the query, µs", NEITHER)
                request = Figure(
                    f"top 10 of {size:,} users: request after an update, ms", NEITHER, 2
                )
                table.add(query, kind, Ours.name, board.query_microseconds())
                table.add(request, kind, Ours.name, board.milliseconds_after_an_update())


# What takes long has a round for every so many of the rest.
RARELY, LONG = 3, (remember, watched, boards)
PARTS = {
    "submit": submit,
    "deliver": deliver,
    "memory": remember,
    "watch": watched,
    "boards": boards,
}


@contextlib.contextmanager
def told(table, figure, kind, server):
    """Put the reason into the table where there is nothing to measure."""
    try:
        yield
    except Lost as reason:
        table.add(figure, kind, server.name, f"none: {reason}")


def main():
    parser = argparse.ArgumentParser("python -m bench", description=__doc__)
    parser.add_argument("--only", choices=PARTS, action="append", help="a part, or several")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--database", choices=("sqlite", "postgres"), action="append")
    options = parser.parse_args()
    databases = options.database or ["sqlite", "postgres"]
    be_the_load()
    table, began = Table(), time.monotonic()
    load_before = os.getloadavg()[0]
    for part in options.only or PARTS:
        for kind in databases:
            measure = PARTS[part]
            rounds = options.rounds // RARELY if measure in LONG else options.rounds
            measure(table, kind, max(1, rounds))
    print(table.markdown(databases, [subject.name for subject in SUBJECTS]))
    print(
        f"\nPython {platform.python_version()}, {os.cpu_count()} cores, "
        f"load {load_before:.1f} before; {options.rounds} rounds, "
        f"a third as many of what takes long; took {time.monotonic() - began:.0f} s."
    )


if __name__ == "__main__":
    sys.exit(main())
