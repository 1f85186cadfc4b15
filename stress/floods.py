"""Flood the server and measure how other clients are served: `python -m stress.floods`.

Each flood runs against a new server on SQLite with its default limits. Prints the push latency of
50 updates/s to ten subscribers, before and during the flood. Exits with 1 if an update or a message
was lost, memory grew too much, a connection was not closed within a minute, or the log has a
traceback. Times depend on the machine and are not checked.
"""

import argparse
import contextlib
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from bench.clients import MeasurementFailed
from bench.pushes import measure_pushes, subscribed
from bench.rates import give_all_players_a_score
from bench.servers import Ours, prepare_load_process

from .flood_clients import FLOODS, Flood

PLAYERS, SUBSCRIBERS = 300, 10
UPDATE_RATE = 50  # per second
SETTLE_TIME = 10  # seconds of the flood before the measurement
CLOSE_TIMEOUT = 60  # seconds
MIB = 1024 * 1024
MAX_GROWTH = 96 * MIB  # by 2,000 connections
FIRST_NETWORK = 100  # the first flood comes from 127.100.0.0/24


class FloodedServer(Ours):
    """`python wsgi.py` on SQLite with its default limits."""

    settings: ClassVar = {"AUTH_RATE_LIMIT": "100/minute", "SCORE_RATE_LIMIT": "60/minute"}

    def __init__(self):
        super().__init__("sqlite", PLAYERS)
        self.token = self.viewer_token()

    def open_sockets(self):
        """Return the number of open sockets of the process."""
        count = 0
        for path in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                count += os.readlink(path).startswith("socket:")
        return count


@dataclass
class Result:
    """The results of floods that ran at the same time. Latencies are `PushFigures`."""

    before: object = None
    flooded: object = None
    memory: tuple = (0, 0)  # bytes: before, maximum
    closed_after: float = 0.0  # seconds
    counts: dict = field(default_factory=dict)  # by name of the flood
    failures: list = field(default_factory=list)


def measure(sizes, seconds, settle_time=SETTLE_TIME):
    """Run these floods at the same time against a new server, and return the `Result`.

    `sizes` has the number of connections of each flood by name; None is its default.
    """
    result = Result()
    with contextlib.closing(FloodedServer()) as server:
        floods = []
        for number, name in enumerate(sizes):
            talk, count, addresses = FLOODS[name]
            count = sizes[name] or count
            floods.append(Flood(server, FIRST_NETWORK + number, talk, count, addresses))
        try:
            _flood(result, server, floods, seconds, settle_time)
        except MeasurementFailed as error:
            result.failures.append(str(error))
        finally:
            for name, flood in zip(sizes, floods, strict=True):
                flood.end()
                result.counts[name] = flood.counts
        if tracebacks := server.log().count("Traceback (most recent call last)"):
            result.failures.append(f"{tracebacks} tracebacks in {server.log()[-2000:]}")
    return result


def _flood(result, server, floods, seconds, settle_time):
    give_all_players_a_score(server)
    with subscribed(server, SUBSCRIBERS) as pool:
        result.before = _measure(server, pool, seconds)
        sockets, memory = server.open_sockets(), server.resident_bytes()
        for flood in floods:
            flood.start()
        while not all(flood.has_opened for flood in floods):
            pool.pump(0.1)
        _measure(server, pool, settle_time)
        result.flooded = _measure(server, pool, seconds)
        for flood in floods:
            flood.is_holding = True
        started_at = time.monotonic()
        while server.open_sockets() > sockets and time.monotonic() < started_at + CLOSE_TIMEOUT:
            pool.pump(0.1)
        result.closed_after = time.monotonic() - started_at
        if left := max(server.open_sockets() - sockets, 0):
            result.failures.append(f"{left} sockets are open after {CLOSE_TIMEOUT} s")
        result.memory = (memory, server.resident_bytes("VmHWM"))
        if (growth := result.memory[1] - memory) > MAX_GROWTH:
            result.failures.append(f"the process grew by {growth // MIB} MiB")


def _measure(server, pool, seconds):
    """Return the `PushFigures`. Raises MeasurementFailed if a message was lost."""
    figures = measure_pushes(server, pool, UPDATE_RATE, seconds)
    if isinstance(figures.p50, str):
        raise MeasurementFailed(figures.p50)
    return figures


def report(name, result):
    """Return the result of one flood as text."""
    lines = [f"## {name}: {FLOODS[name][0].__doc__}"]
    if result.flooded:
        before, flooded = result.before, result.flooded
        memory = "/".join(f"{size // MIB}" for size in result.memory)
        lines += [
            f"  push latency p50 {before.p50:.1f} -> {flooded.p50:.1f} ms, "
            f"p99 {before.p99:.1f} -> {flooded.p99:.1f} ms",
            f"  memory before/maximum {memory} MiB; closed after {result.closed_after:.1f} s",
        ]
    counts = ", ".join(f"{key}: {count:,}" for key, count in result.counts[name].items())
    lines += [f"  counts: {counts}", *(f"  FAILED: {failure}" for failure in result.failures)]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser("python -m stress.floods", description=__doc__)
    parser.add_argument("--only", choices=FLOODS, action="append", help="a flood, or several")
    parser.add_argument("--seconds", type=int, default=8, help="of each measurement")
    options = parser.parse_args()
    prepare_load_process()
    failed = []
    for name in options.only or FLOODS:
        result = measure({name: None}, options.seconds)
        print(report(name, result), flush=True)
        failed += [name] if result.failures else []
    print(f"\nfailed: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
