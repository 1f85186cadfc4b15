"""Soak test: run a server under mixed load for a long time and check that nothing leaks.

    python -m stress.soak [--minutes N] [--database sqlite|postgres] [--folder FOLDER]

N minutes of load (60 by default), of which the first quarter is warm-up. After warm-up and at the
end all clients leave and the server comes to rest. `flatness` defines what counts as growth. With
Postgres the server also uses Redis. Exits with 1 if a figure grew, a response had an unexpected
status, the server logged a traceback, or the history checker found a problem.

The server's caches are bounded, and most are filled before the warm-up: 10,000 verified tokens,
10,000 addresses with refusals, 1,000 audit lines, and a database larger than the cache of each
connection. Data per user (anomaly rules, rate limit windows) exists after warm-up for the users of
the load. It grows with new accounts: ten per minute, about a kilobyte each.
"""

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

import requests

from tests.support.subscribers import PATH

from . import checker, flatness
from . import history as histories
from .history import History
from .mixed import EVERYBODY
from .mixed.load import Load, Notes, World
from .subject import served
from .workload import Workload

WARM_UP = 0.25
# Seconds after the last client has left in which all client state must be gone. A session that is
# no longer polled ends after 45 s.
REST_SECONDS = 90
# Consecutive equal samples that mean that the server is at rest.
SETTLED = 5
TOKENS, UPDATES = 10_000, 20_000
PROXIED = "X-Forwarded-For"
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "eHh4eHh4eHh4eHh4eHh4eA==",
}
# More concurrent requests than any pool has connections, so that all pools are full at rest.
CROWD = 40
# Average seconds between two requests of each client of the workload.
PAUSE = 0.5


class Soak:
    """One server, its load, and its results."""

    def __init__(self, server, actors=EVERYBODY, fill=True):
        self.server, self.notes, self._actors = server, Notes(), actors
        self._world = World(server)
        self._workloads = []
        if fill:
            self._fill()

    def run(self, seconds):
        """Run the load for `seconds` in total; return the rows of both comparisons."""
        self._load(seconds * WARM_UP)
        self.first = self._rest(_settled)
        began = time.time()
        self._load(seconds * (1 - WARM_UP))
        ended = time.time()
        self.last = self._rest(lambda looks: _as_before(self.first, looks[-1]))
        loaded = [look for look in self.server.samples() if began < look["at"] < ended]
        return flatness.under_load(loaded) + flatness.at_rest(self.first, self.last)

    def failures(self, rows):
        """Return the failures as text."""
        grown = [f"{row.name} grew {row.when}" for row in rows if not row.is_flat]
        for when, look in (("after warm-up", self.first), ("at the end", self.last)):
            left = {name: count for name, count in look["held"].items() if count}
            grown += [f"left {when}: {left}"] if left else []
        tracebacks = self.server.log().count("Traceback (most recent call last)")
        grown += [f"{tracebacks} tracebacks in the log"] if tracebacks else []
        return grown + self.notes.unexpected + list(self._wrong())

    def _wrong(self):
        """Yield the problems that the history checker finds."""
        logs = [log for workload in self._workloads for log in workload.logs]
        whole, ours = histories.read(self.server.environment["DATABASE_URL"]), self._world.checked
        rows = [row for row in whole.rows if row.user_id in ours]
        standings = {user: whole.standings[user] for user in ours if user in whole.standings}
        history = History(rows, standings)
        asked = checker.requests(logs)
        self.notes.count("a request of the checked history", len(asked))
        yield from checker.check_updates(asked, history)
        yield from checker.check_standings(history, "latest")

    def _load(self, seconds):
        number, folder = len(self._workloads), self.server.log_file.parent
        logs = folder / f"workload-{number}"
        logs.mkdir()
        world = self._world
        workload = Workload([world.url], world.scorer, world.checked, logs, number, PAUSE)
        self._workloads.append(workload)
        try:
            Load(world, self.notes, self._actors).run(seconds)
        finally:
            workload.stop()
        for what in ("acknowledged", "repeats", "lost"):
            self.notes.count(f"of the workload, {what}", workload.count(what))
        self._crowd()

    def _rest(self, has_come):
        """Wait until `has_come(samples)` or `REST_SECONDS` have passed; return the last sample."""
        deadline = time.monotonic() + REST_SECONDS
        with self.server.at_rest():
            while True:
                looks = self._quiet_looks()
                if time.monotonic() > deadline or (looks and has_come(looks)):
                    return looks[-1]
                time.sleep(0.5)

    def _quiet_looks(self):
        """Return the samples of the current rest."""
        looks = self.server.samples()
        loaded = max(number for number, look in enumerate(looks) if not look["quiet"])
        return looks[loaded + 1 :]

    def _crowd(self):
        """Send so many concurrent requests that every connection pool is full."""
        world = self._world

        def ask(number):
            player = world.players[number % len(world.players)]
            headers = {**_bearer(player.token), "Connection": "close"}
            post, get = requests.post, requests.get
            with contextlib.suppress(requests.ConnectionError):
                get(f"{world.url}/api/users/{player.user_id}/scores", headers=headers, timeout=20)
                post(f"{world.url}/api/score/update", json={}, headers=headers, timeout=20)

        with ThreadPoolExecutor(CROWD) as crowd:
            list(crowd.map(ask, range(5 * CROWD)))

    def _fill(self):
        """Fill the bounded caches: tokens, addresses, audit lines, and the database's caches."""
        world, http = self._world, HTTPConnection("127.0.0.1", self.server.port)
        for number in range(TOKENS):
            # A refresh token is verified and cached, then refused: the cheapest way to fill it.
            token = world.mint(world.scorer.user_id, type="refresh", number=number)
            address = f"10.0.{number // 250}.{number % 250}"
            http.request("GET", PATH, headers={**_bearer(token), **UPGRADE, PROXIED: address})
            answer = http.getresponse()
            assert answer.status == 401, answer.read()
            answer.read()
        for start in range(0, UPDATES, 1000):
            several = [world.players[n % len(world.players)] for n in range(start, start + 1000)]
            body = json.dumps({"updates": [player.update() for player in several]})
            http.request("POST", "/api/score/batch", body, _bearer(world.scorer.token))
            answer = http.getresponse()
            assert answer.status == 200, answer.read()
            answer.read()
        http.close()


def _bearer(token):
    return {"Authorization": f"Bearer {token}"}


def _settled(looks):
    """Whether no client state is left and the last `SETTLED` samples are equal."""
    last = [_exact(look) for look in looks[-SETTLED:]]
    return len(last) == SETTLED and all(each == last[0] for each in last) and _empty(looks[-1])


def _as_before(first, look):
    return _empty(look) and all(row.is_flat for row in flatness.at_rest(first, look))


def _exact(look):
    return [look[name] for name in ("files", "connections", "sockets", "green", "threads")]


def _empty(look):
    return not any(look["held"].values())


def tell(soak, rows, cpu):
    """Print the figures."""
    print(f"{'':16} {'':10} {'first':>10} {'last':>10} {'':4} at most")
    for row in rows:
        print(
            f"{row.name:16} {row.when:10} {row.first:10,.1f} {row.last:10,.1f} {row.unit:4} "
            f"{row.most:,.1f}{'' if row.is_flat else '   GREW'}"
        )
    print("\nmost more objects at rest:")
    for name, before, after in flatness.grown_kinds(soak.first, soak.last):
        print(f"  {name}: {before:,} to {after:,}")
    print("\ndone:")
    for what, count in sorted(soak.notes.counts.items()):
        print(f"  {what}: {count:,}")
    print(f"\nCPU seconds: server {cpu[0]:.0f}, load {cpu[1]:.0f}")


def main():
    parser = argparse.ArgumentParser("python -m stress.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--folder", type=Path, help="keep the log and what was seen here")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp())
    with served(options.database, folder) as server:
        soak = Soak(server)
        rows = soak.run(options.minutes * 60)
        failures = Counter(soak.failures(rows))
        tell(soak, rows, (server.cpu_seconds(), time.process_time()))
    for failure, times in failures.items():
        print(f"\nFAILED {times} times: {failure}" if times > 1 else f"\nFAILED: {failure}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
