"""`flask simulate`: post the scores of a simulated game's players to a running server."""

import secrets
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from statistics import quantiles
from threading import local
from typing import Any

import click

from ..auth import tokens
from . import client
from .users import seed_players

THREADS = 16


@dataclass
class _Results:
    statuses: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)

    def add(self, status: int, code: str, seconds: float) -> None:
        self.statuses["accepted" if status == 200 else f"refused, {status} {code}"] += 1
        self.latencies.append(seconds * 1000)


@click.command()
@click.option("--players", type=click.IntRange(1, 10_000), default=100, show_default=True)
@click.option("--rate", type=click.FloatRange(0.1, 5_000), default=50, show_default=True)
@click.option("--seconds", type=click.FloatRange(0.1, 3_600), default=10, show_default=True)
@click.option("--url", default=client.DEFAULT_URL, show_default=True)
def simulate(players: int, rate: float, seconds: float, url: str) -> None:
    """Simulate a game: PLAYERS new players post RATE scores per second for SECONDS.

    The players are created in this installation's database, which the server at URL must use.
    """
    lifetime = timedelta(seconds=seconds) + timedelta(hours=1)
    hands = [
        (row["user_id"], tokens.issue_access(row["user_id"], "player", lifetime))
        for row in seed_players(players, scores=False)
    ]
    watcher = client.watch(url, hands[0][1])
    results = _play(url, hands, rate, max(1, round(rate * seconds)))
    _summarize(results, watcher.stop())


def _play(url: str, hands: list[tuple[str, str]], rate: float, count: int) -> _Results:
    """Post `count` scores, `rate` per second, cycling through the players. Blocks until done."""
    results, posters = _Results(), local()

    def post(number: int) -> None:
        if not hasattr(posters, "poster"):
            posters.poster = client.Poster(url)
        user_id, token = hands[number % len(hands)]
        started = time.perf_counter()
        answer = posters.poster.post(token, _update(user_id))
        elapsed = time.perf_counter() - started
        body = answer.json()
        results.add(answer.status_code, body.get("error", {}).get("code", ""), elapsed)

    first = time.monotonic()
    with ThreadPoolExecutor(THREADS) as pool, click.progressbar(length=count) as progress:
        posts = []
        for number in range(count):
            time.sleep(max(0.0, first + number / rate - time.monotonic()))
            posts.append(pool.submit(post, number))
            progress.update(1)
        for done in posts:
            done.result()
    return results


def _update(user_id: str) -> dict[str, Any]:
    return {
        "user_id": user_id,
        "score_value": secrets.randbelow(10_000),
        "timestamp": datetime.now(UTC).isoformat(),
    }


def _summarize(results: _Results, pushes: int) -> None:
    for status, count in sorted(results.statuses.items()):
        click.echo(f"{status}: {count}")
    if len(results.latencies) > 1:
        cuts = quantiles(results.latencies, n=100)
        click.echo(f"latency: p50 {cuts[49]:.1f} ms, p95 {cuts[94]:.1f} ms, p99 {cuts[98]:.1f} ms")
    click.echo(f"pushes received: {pushes}")
