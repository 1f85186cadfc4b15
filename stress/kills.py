"""Kill server processes repeatedly under load; check that no update is lost or recorded twice.

Three ledgers take updates, most of which also count on derived boards, while seasons end.

python -m stress.kills --database postgres --processes 3 --kills 20
"""

import argparse
import contextlib
import json
import random
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import requests

from tests.support import databases
from tests.support.backing_services import RedisServer
from tests.support.servers import SignedInUser, start_servers

from . import checker
from .history import read_history
from .subscribers import Subscribers
from .workload import Workload

PLAYERS = 30
# Range of the random number of acknowledged updates between two kills.
UPDATES_BETWEEN_KILLS = (5, 60)
LEDGERS = {"runs": {"policy": "best", "order": "asc"}, "clan": {"policy": "latest"}}
DERIVED = {
    "day": {"source": "main", "policy": "best"},  # its seasons also end by the clock
    "sum": {"source": "main", "policy": "total"},
    "low": {"source": "runs", "policy": "best", "order": "asc", "max_score": 5 * 10**11},
    "last": {"source": "runs", "policy": "latest"},
}
BOARDS = ["main", *LEDGERS, *DERIVED]
UPDATED = [None, None, "main", *LEDGERS]  # None is `main` without a name


class Seasons:
    """Creates the boards, and then ends seasons until stopped, in a thread."""

    def __init__(self, urls, token, rng):
        self._urls, self._rng = urls, rng
        self._headers = {"Authorization": f"Bearer {token}"}
        self._stop = threading.Event()
        self.ended = 0
        for board_id, fields in (LEDGERS | DERIVED).items():
            body = {"board_id": board_id, "title": board_id, **fields}
            self._send("POST", "", body).raise_for_status()
        self._thread = threading.Thread(target=self._run)

    def start(self):
        self._thread.start()

    def _run(self):
        minute = None
        while not self._stop.wait(self._rng.random()):
            next_minute = f"{datetime.now(UTC) + timedelta(minutes=1):%H:%M}"
            with contextlib.suppress(requests.RequestException):
                if next_minute != minute:
                    self._set_reset({"every": "day", "at": next_minute, "time_zone": "UTC"})
                    minute = next_minute
                response = self._send("POST", f"/{self._rng.choice(BOARDS)}/seasons")
                self.ended += response.status_code == 201

    def _set_reset(self, reset):
        self._send("PATCH", "/day", {"reset": reset}).raise_for_status()

    def _send(self, method, path, body=None):
        url = f"{self._rng.choice(self._urls)}/api/admin/boards{path}"
        return requests.request(method, url, json=body, headers=self._headers, timeout=10)

    def stop(self):
        """End no more seasons: neither here nor by the clock. The servers must be running."""
        self._stop.set()
        self._thread.join(60)
        self._set_reset(None)


def run(folder, database, processes, kills, policy, seed):
    """Run with this number of kills; return the problems and the figures of the run."""
    started_at, rng = time.monotonic(), random.Random(seed)
    is_postgres = database == "postgres"
    url = databases.new_database() if is_postgres else databases.copied_sqlite(folder)
    with ExitStack() as stack:
        settings = {"DATABASE_URL": url, "SCORE_POLICY": policy}
        if processes > 1:
            redis = RedisServer(folder)
            stack.callback(redis.stop)
            settings["REDIS_URL"] = redis.url
        servers = start_servers(folder, processes, **settings)
        for server in servers:
            stack.callback(server.stop)
        user_id = servers[0].user("Scorer", "scorer").user_id
        token = servers[0].flask("users", "token", "Scorer", "--minutes", "120").strip()
        players = json.loads(servers[0].flask("users", "seed", str(PLAYERS)))
        urls = [server.url for server in servers]
        admin = servers[0].user("Administrator", "admin")
        seasons = Seasons(urls, admin.token, random.Random(f"{seed}-seasons"))
        subscribers = Subscribers(urls, token, BOARDS, seed)
        stack.callback(subscribers.stop)
        workload = Workload(urls, SignedInUser(user_id, token), players, UPDATED, folder, seed)
        stack.callback(workload.stop)
        seasons.start()
        stack.callback(seasons.stop)
        for _ in range(kills):
            workload.wait_for_more(rng.randint(*UPDATES_BETWEEN_KILLS))
            killed = servers if rng.random() < 0.2 else [rng.choice(servers)]
            for server in killed:
                server.kill()
            for server in killed:
                server.start()
        workload.wait_for_more(20)
        seasons.stop()
        workload.stop()
        views = checker.Views(read_history(url, policy))
        subscribers.settle(views.is_up_to_date)
        subscribers.stop()
        subscribers.write_log(folder / "subscribers.jsonl")
    problems, counts = checker.check(folder, url, policy)
    if tracebacks := sum(server.log().count("Traceback") for server in servers):
        problems.append(f"{tracebacks} tracebacks in the logs of the servers")
    seconds = round(time.monotonic() - started_at)
    return problems, {
        **counts,
        "lost responses": workload.count("lost"),
        "seasons ended by hand": seasons.ended,
        "kills": kills,
        "seconds": seconds,
    }


def main():
    """Run with the command line's options; return the exit status."""
    parser = argparse.ArgumentParser("python -m stress.kills", description=__doc__)
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--policy", choices=("latest", "best", "total"), default="latest")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**6)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        problems, figures = run(Path(folder), **vars(options))
    print(f"seed {options.seed}: ", end="")
    return checker.report(problems, figures)


if __name__ == "__main__":
    sys.exit(main())
