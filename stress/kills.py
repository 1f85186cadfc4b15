"""Kill server processes repeatedly under load; check that no update is lost or recorded twice.

python -m stress.kills --database postgres --processes 3 --kills 20
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.support import databases
from tests.support.backing_services import OwnRedis
from tests.support.servers import Person, several

from . import checker
from . import history as histories
from .audience import Audience
from .workload import Workload

PLAYERS = 30
# Range of the random number of acknowledged updates between two kills.
BETWEEN = (5, 60)


class Run:
    """Servers that share a database, with clients and viewers."""

    def __init__(self, folder: Path, database: str, processes: int, policy: str, seed: int) -> None:
        self.folder, self.policy, self._seed = folder, policy, seed
        self._random = random.Random(seed)
        self._ends: list[Callable[[], object]] = []
        self.url = (
            databases.new_database() if database == "postgres" else databases.copied_sqlite(folder)
        )
        settings = {"DATABASE_URL": self.url, "SCORE_POLICY": policy}
        if processes > 1:
            redis = OwnRedis(folder)
            self._ends.append(redis.stop)
            settings["REDIS_URL"] = redis.url
        self.servers = several(folder, processes, **settings)
        self._ends += [server.stop for server in self.servers]

    def start(self) -> None:
        """Start clients and viewers."""
        first = self.servers[0]
        scorer = first.user("Scorer", "scorer")
        token = first.flask("users", "token", "Scorer", "--minutes", "120").strip()
        players = json.loads(first.flask("users", "seed", str(PLAYERS)))
        urls = [server.url for server in self.servers]
        self.audience = Audience(urls, token, self.folder, self._seed)
        self.workload = Workload(
            urls, Person(scorer.user_id, token), players, self.folder, self._seed
        )
        self._ends += [self.workload.stop, self.audience.end]

    def kill(self) -> None:
        """Kill one process under load, or sometimes all of them, and restart what was killed."""
        self.workload.wait_for_more(self._random.randint(*BETWEEN))
        everyone = self._random.random() < 0.2
        killed = self.servers if everyone else [self._random.choice(self.servers)]
        for server in killed:
            server.kill()
        for server in killed:
            server.start()

    def end(self) -> tuple[list[str], dict[str, int]]:
        """Stop the clients, wait until the viewers have caught up; return problems and counts."""
        self.workload.wait_for_more(20)
        self.workload.stop()
        history = histories.read(self.url)
        self.audience.settle(lambda messages: checker.has_seen_all(messages, history))
        self.audience.end()
        found, counts = checker.check(self.folder, self.url, self.policy)
        tracebacks = sum(server.log().count("Traceback") for server in self.servers)
        if tracebacks:
            found.append(f"{tracebacks} tracebacks in the logs of the servers")
        counts["answers lost"] = self.workload.count("lost")
        return found, counts

    def close(self) -> None:
        """Stop everything that still runs."""
        for end in reversed(self._ends):
            end()


def run(
    folder: Path, database: str, processes: int, kills: int, policy: str, seed: int
) -> tuple[list[str], dict[str, Any]]:
    """Run with this number of kills; return the problems and the figures of the run."""
    with ExitStack() as stack:
        began = time.monotonic()
        work = Run(folder, database, processes, policy, seed)
        stack.callback(work.close)
        work.start()
        for _ in range(kills):
            work.kill()
        found, counts = work.end()
    return found, {**counts, "kills": kills, "seconds": round(time.monotonic() - began)}


def main() -> int:
    """Run with the command line's options; return the exit status."""
    parser = argparse.ArgumentParser("python -m stress.kills", description=__doc__)
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--policy", choices=("latest", "best", "total"), default="latest")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**6)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found, figures = run(Path(folder), **vars(options))
    print(f"seed {options.seed}: " + ", ".join(f"{n:,} {what}" for what, n in figures.items()))
    for problem in found[:20]:
        print(f"WRONG: {problem}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
