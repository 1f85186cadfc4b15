"""`flask simulate`: post the scores of a simulated game's players to a running server."""

import contextlib
import secrets
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from statistics import quantiles
from urllib.parse import urlsplit

import click
import requests
import websocket

from ..auth import tokens
from ..errors import UnknownBoard
from ..services import services
from . import client, database
from .seeding import seed_players

THREADS = 16


@click.command()
@click.option("--players", type=click.IntRange(1, 10_000), default=100, show_default=True)
@click.option("--rate", type=click.FloatRange(0.1, 5_000), default=50, show_default=True)
@click.option("--seconds", type=click.FloatRange(0.1, 3_600), default=10, show_default=True)
@client.board_option
@client.url_option
def simulate(players: int, rate: float, seconds: float, board: str | None, url: str) -> None:
    """Simulate a game: PLAYERS new players post RATE scores per second for SECONDS.

    The scores are for BOARD or, if that is derived from another board, for its source. The players
    are created in this installation's database, which the server at URL must use.
    """
    database.announce()
    ledger_id = _ledger_id(board) if board else None
    lifetime = timedelta(seconds=seconds) + timedelta(hours=1)
    user_ids = [player["user_id"] for player in seed_players(players, scores=False)]
    signed_in = [(each, tokens.issue_access(each, "player", lifetime)) for each in user_ids]
    subscriber = Subscriber(url, signed_in[0][1], board)
    results = _play(url, signed_in, rate, max(1, round(rate * seconds)), ledger_id)
    for outcome, count in sorted(Counter(outcome for outcome, _ in results).items()):
        click.echo(f"{outcome}: {count}")
    if len(results) > 1:
        cuts = quantiles((milliseconds for _, milliseconds in results), n=100)
        click.echo(f"latency: p50 {cuts[49]:.1f} ms, p95 {cuts[94]:.1f} ms, p99 {cuts[98]:.1f} ms")
    click.echo(f"pushes received: {subscriber.stop()}")


def _ledger_id(board: str) -> str:
    """Return the board that takes the updates of this one. Raises ClickException."""
    try:
        return services().boards.get(board).ledger_id
    except UnknownBoard as error:
        raise click.ClickException(error.message) from None


def _play(
    url: str, players: list[tuple[str, str]], rate: float, count: int, board: str | None
) -> list[tuple[str, float]]:
    """Post `count` scores to the board, `rate` per second, cycling through the players.

    A player is a user id and a token. Return the outcome and the milliseconds of each post. Blocks
    until all have responses.
    """
    of_thread = threading.local()

    def post(number: int) -> tuple[str, float]:
        session = of_thread.__dict__.setdefault("session", requests.Session())
        user_id, token = players[number % len(players)]
        score, now = secrets.randbelow(10_000), datetime.now(UTC).isoformat()
        update = {"user_id": user_id, "score_value": score, "timestamp": now}
        if board:
            update["board"] = board
        started = time.perf_counter()
        response = client.post(session, url, "/api/score/update", token, update)
        milliseconds = (time.perf_counter() - started) * 1000
        if response.status_code == 200:
            return "accepted", milliseconds
        return f"refused, {response.status_code} {response.json()['error']['code']}", milliseconds

    first = time.monotonic()
    with ThreadPoolExecutor(THREADS) as pool, click.progressbar(range(count)) as numbers:
        posts = []
        for number in numbers:
            time.sleep(max(0.0, first + number / rate - time.monotonic()))
            posts.append(pool.submit(post, number))
        return [done.result() for done in posts]


class Subscriber:
    """Counts the messages of a plain WebSocket that names this board, or none.

    Raises ClickException if it cannot connect.
    """

    def __init__(self, url: str, token: str, board: str | None) -> None:
        server = urlsplit(url)
        scheme = "wss" if server.scheme == "https" else "ws"
        address = f"{scheme}://{server.netloc}/ws/scoreboard"
        if board:
            address += f"?board={board}"
        headers = [f"Authorization: Bearer {token}"]
        try:
            self._socket = websocket.create_connection(address, header=headers, timeout=30)
        except (websocket.WebSocketException, OSError) as error:
            raise click.ClickException(f"Cannot connect to {address}: {error}") from None
        self._received = 0
        self._thread = threading.Thread(target=self._count, daemon=True)
        self._thread.start()

    def _count(self) -> None:
        # When either side closes, the count is final.
        with contextlib.suppress(websocket.WebSocketException, OSError):
            while self._socket.recv():
                self._received += 1

    def stop(self) -> int:
        """Close the connection and return the number of messages received."""
        self._socket.close(timeout=1)
        self._thread.join(timeout=2)
        return self._received
