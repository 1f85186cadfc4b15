"""Kill server processes repeatedly under load; check that no update is lost or recorded twice.

python -m stress.kills --database postgres --processes 3 --kills 20
"""

import argparse
import json
import random
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

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
        subscribers = Subscribers(urls, token, seed)
        stack.callback(subscribers.stop)
        workload = Workload(urls, SignedInUser(user_id, token), players, folder, seed)
        stack.callback(workload.stop)
        for _ in range(kills):
            workload.wait_for_more(rng.randint(*UPDATES_BETWEEN_KILLS))
            killed = servers if rng.random() < 0.2 else [rng.choice(servers)]
            for server in killed:
                server.kill()
            for server in killed:
                server.start()
        workload.wait_for_more(20)
        workload.stop()
        history = read_history(url)
        subscribers.settle(lambda messages: checker.is_up_to_date(messages, history))
        subscribers.stop()
        subscribers.write_log(folder / "subscribers.jsonl")
    problems, counts = checker.check(folder, url, policy)
    if tracebacks := sum(server.log().count("Traceback") for server in servers):
        problems.append(f"{tracebacks} tracebacks in the logs of the servers")
    seconds = round(time.monotonic() - started_at)
    return problems, {
        **counts,
        "lost responses": workload.count("lost"),
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
