"""Soak test: run a server under mixed load and check that nothing grows.

    python -m stress.soak [--minutes N] [--database sqlite|postgres]

Compares the server at rest, without clients, after a warm-up and after N minutes (60 by default) of
load; and its memory in the first and the last quarter of the load. With Postgres the server also
uses Redis. Exits with 1 if a figure grew, a response had an unexpected status, or the server logged
a traceback.

The warm-up fills the server's bounded caches: 10,000 verified tokens, 10,000 addresses with
refusals, 1,000 audit lines, the connection pools with their statements, and a database larger than
the cache of each connection.
"""

import argparse
import json
import os
import re
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path
from statistics import median

import requests

from tests.support import databases
from tests.support.backing_services import RedisServer
from tests.support.servers import Server
from tests.support.waiting import wait_until

from .actions import World, new_token, new_update

WORKERS, PAUSE = 8, 0.5  # average seconds between two actions of a worker
WARM_UP_SECONDS, WARM_UP_WORKERS, WARM_UP_PAUSE = 60, 12, 0.1
# In which everything of closed clients must be gone: a session that is not polled ends after 45 s.
REST_SECONDS = 90
SAMPLE_INTERVAL = 2  # seconds
SETTLED_SAMPLES = 5  # equal samples in sequence that mean that the server is at rest
TOKENS, UPDATES = 10_000, 20_000
MAX_TYPES = 8
# How much each figure may grow: an absolute amount plus a share. Memory: the allocator keeps freed
# memory. Sockets: connections to the database and to Redis are opened at a new peak of load, and
# kept. The client sockets and live connections at rest must be 0.
LIMITS = {
    "memory, MiB": (16, 0.05),
    "open files": (0, 0),
    "sockets": (10, 0),
    "threads": (0, 0),
    "green threads": (0, 0),
    "objects": (1000, 0.01),
}


class ObservedServer(Server):
    """`python wsgi.py`, with figures of its process from the system and from `stress.observed`."""

    def __init__(self, folder, **settings):
        self.counts = folder / "counts.json"
        # With one trusted proxy, a client can claim any address.
        super().__init__(folder, TRUSTED_PROXIES="1", LOGIN_RATE_LIMIT="1000000/minute", **settings)

    def command(self):
        return ["-m", "stress.observed", str(self.counts)]

    def sample(self):
        """Return the figures of `LIMITS` and the counts by type. Stalls the server for a moment."""
        self.counts.unlink(missing_ok=True)
        Path(f"{self.counts}.request").touch()
        wait_until(self.counts.exists)
        files = Counter()
        for path in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed meanwhile
                files[re.match("socket:|.*/scoreboard.db|", os.readlink(path))[0]] += 1
        return {
            "memory, MiB": self.memory(),
            "open files": files[""],  # without the database's, whose pool is bounded
            "sockets": files["socket:"],
            "threads": self._status("Threads"),
            **json.loads(self.counts.read_text()),
        }

    def memory(self):
        """Return the resident memory in MiB."""
        return self._status("VmRSS") / 1024

    def has_clients(self):
        """Whether a client socket is open, or a live connection is counted in the metrics."""
        metrics = requests.get(f"{self.url}/metrics", headers={"Connection": "close"}, timeout=20)
        counts = re.findall(r"^scoreboard_connections\{.*\} (.*)$", metrics.text, re.MULTILINE)
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            # State 0A is the listening socket; the inode of a closed one is 0.
            if local.endswith(f":{self.port:04X}") and state != "0A" and inode != "0":
                return True
        return any(map(float, counts))

    def _status(self, field):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition(f"{field}:")[2].split()[0])


class Soak:
    """One server, its load, and the results: `rows` of figures and `failures`."""

    def __init__(self, server):
        self.server, self.world = server, World(server)
        self.rows, self.failures = [], self.world.failures

    def run(self, seconds):
        """Warm up, run the load for `seconds`, and compare. Returns the types with more objects."""
        fill_caches(self.world)
        self.world.run(WARM_UP_SECONDS, WARM_UP_WORKERS, WARM_UP_PAUSE)
        first = self._rest(is_settled)
        loaded = self.world.run(seconds, WORKERS, PAUSE)
        last = self._rest(lambda samples: not grown(first, samples[-1]))
        quarter = max(len(loaded) // 4, 1)
        memory = [{"memory, MiB": median(part)} for part in (loaded[:quarter], loaded[-quarter:])]
        self._compare("under load", *memory)
        self._compare("at rest", first, last)
        if tracebacks := self.server.log().count("Traceback (most recent call last)"):
            self.failures.append(f"{tracebacks} tracebacks in the log: {self.server.log()[-5000:]}")
        types = Counter(dict(last["types"]))
        types.subtract(dict(first["types"]))
        return [(name, count) for name, count in types.most_common(MAX_TYPES) if count > 0]

    def _rest(self, is_done):
        """Sample until `is_done(samples)` without clients, or for `REST_SECONDS`."""
        samples, deadline = [], time.monotonic() + REST_SECONDS
        while True:
            has_clients = self.server.has_clients()
            samples.append(self.server.sample())
            if not has_clients and is_done(samples):
                return samples[-1]
            if time.monotonic() > deadline:
                if has_clients:
                    self.failures.append("connections of clients are open at rest")
                return samples[-1]
            time.sleep(SAMPLE_INTERVAL)

    def _compare(self, when, first, last):
        self.rows += [(name, when, first[name], last[name]) for name in LIMITS if name in first]
        self.failures += [f"{name} grew {when}" for name in grown(first, last)]


def is_settled(samples):
    """Whether the last samples are equal but for memory and objects."""
    names = ("open files", "sockets", "threads", "green threads")
    last = [[sample[name] for name in names] for sample in samples[-SETTLED_SAMPLES:]]
    return len(last) == SETTLED_SAMPLES and last[1:] == last[:-1]


def grown(first, last):
    """Return the names of the figures that grew beyond their limits."""
    return [
        name
        for name, (amount, share) in LIMITS.items()
        if name in first and last[name] > first[name] * (1 + share) + amount
    ]


def fill_caches(world):
    """Fill the bounded caches: tokens, addresses, audit lines, and the database's caches."""
    http = requests.Session()
    for number in range(TOKENS):
        # A refresh token is verified and cached, then refused: the cheapest way to fill it.
        token = new_token(world.scorer.user_id, type="refresh")
        address = f"10.0.{number // 250}.{number % 250}"
        headers = {"Authorization": f"Bearer {token}", "X-Forwarded-For": address}
        assert http.get(f"{world.url}/api/auth/me", headers=headers).status_code == 401
    for start in range(0, UPDATES, 1000):
        players = [world.players[n % len(world.players)] for n in range(start, start + 1000)]
        body = {"updates": [new_update(player.user_id) for player in players]}
        url, headers = f"{world.url}/api/score/batch", world.scorer.bearer
        http.post(url, json=body, headers=headers).raise_for_status()
    http.close()


def main():
    parser = argparse.ArgumentParser("python -m stress.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder, settings = Path(stack.enter_context(tempfile.TemporaryDirectory())), {}
        if options.database == "postgres":
            redis = RedisServer(folder)
            stack.callback(redis.stop)
            settings = {"DATABASE_URL": databases.new_database(), "REDIS_URL": redis.url}
        server = ObservedServer(folder, **settings)
        stack.callback(server.stop)
        soak = Soak(server)
        types = soak.run(options.minutes * 60)
    for name, when, first, last in soak.rows:
        print(f"{name} {when}: {first:,.0f} -> {last:,.0f}")
    print("objects at rest:", ", ".join(f"{name} +{count:,}" for name, count in types) or "no more")
    print("actions:", ", ".join(f"{name} {n:,}" for name, n in sorted(soak.world.counts.items())))
    for failure, count in Counter(soak.failures).items():
        print(f"\nFAILED {count} times: {failure}")
    return 1 if soak.failures else 0


if __name__ == "__main__":
    sys.exit(main())
