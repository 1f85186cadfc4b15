"""What an update costs while Redis is there, stopped, paused and back; and when viewers are right.

Three processes on Postgres, one update at a time to each in turn, a viewer in each. Everything is
measured in one run, so that the rows can be compared with each other on a noisy machine.

    python -m bench.redis_away [SECONDS]      # how long Redis is away each time; default 30
"""

import sys
import tempfile
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from statistics import quantiles

import databases
from services import OwnRedis
from serving import several
from viewers import PlainViewer

EVERY = 0.02  # seconds between updates


def play(servers, scorer, seconds, latencies):
    """Post updates for this long; note the latency of each in milliseconds."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        server = servers[len(latencies) % len(servers)]
        update = scorer.update(
            len(latencies), datetime.now(UTC).isoformat(), nonce=uuid.uuid4().hex
        )
        started = time.perf_counter()
        status, body = server.send(scorer.token, update)
        latencies.append((time.perf_counter() - started) * 1000)
        assert status == 200, body
        time.sleep(EVERY)


def seconds_until_right(servers, viewers):
    """Return how long it takes until every viewer's last board is the present one."""
    present, started = servers[0].top10(), time.monotonic()
    for viewer in viewers:
        viewer.wait_for(
            lambda messages: (
                [m for m in messages if m["type"] == "top_10_update"][-1]["data"]["top_10_scores"]
                == present
            ),
            seconds=30,
        )
    return time.monotonic() - started


def row(name, latencies, right):
    cuts = quantiles(latencies, n=100)
    print(
        f"{name:22} {len(latencies):6} {cuts[49]:8.1f} {cuts[98]:8.1f} {max(latencies):8.1f} "
        f"{right:10.2f}",
        flush=True,
    )


def main(seconds):
    folder = Path(tempfile.mkdtemp())
    redis = OwnRedis(folder)
    servers = several(folder, 3, DATABASE_URL=databases.new_database(), REDIS_URL=redis.url)
    try:
        scorer = servers[0].user("scorer", "scorer")
        viewers = [PlainViewer(server.url, scorer.token) for server in servers]
        play(servers, scorer, 2, [])  # warm up
        print(
            f"{'Redis is':22} {'posts':>6} {'p50 ms':>8} {'p99 ms':>8} {'max ms':>8} "
            f"{'right in s':>10}"
        )
        for name, before in [
            ("there", lambda: None),
            ("stopped", redis.stop),
            ("started again", redis.start),
            ("paused", lambda: redis.pause(seconds)),
            ("answering again", lambda: None),
        ]:
            before()
            latencies = []
            play(servers, scorer, seconds if name in ("stopped", "paused") else 5, latencies)
            row(name, latencies, seconds_until_right(servers, viewers))
    finally:
        for server in servers:
            server.stop()
        redis.stop()


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 30)
