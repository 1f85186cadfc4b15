"""How long the leaderboard takes over HTTP, on boards of several sizes, on both databases.

A real server (`python wsgi.py`), one request after the other over one connection. Each row is the
median of TIMES requests in milliseconds, and in brackets the fastest; "after an update" is the
first request after the board has changed, when nothing that was counted before holds.

    python bench/ranks.py [SIZE ...]      # players on the board; default 1000 100000 1000000
"""

import contextlib
import http.client
import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import databases
import psycopg
from serving import SECRETS, Server
from sqlalchemy import select

from config import Config
from scoreboard import create_app, database
from scoreboard.cli.users import CHUNK, seed_players
from scoreboard.extensions import db
from scoreboard.models import Standing, standing_order
from scoreboard.scores import leaderboard, showing
from scoreboard.scores.leaderboard import Last, Place

SIZES = (1_000, 100_000, 1_000_000)
TIMES = 21
# How far down the board, as parts of it.
DEPTHS = (0.01, 0.5, 0.75, 1)


def seeded(kind, folder, size):
    """Return the address of a new database with a board of this size."""
    url = databases.new_database() if kind == "postgres" else f"sqlite:///{folder}/scoreboard.db"
    with application(url):
        for made in range(0, size, CHUNK):
            seed_players(min(CHUNK, size - made), scores=True)
    if kind == "postgres":
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")  # as it does by itself, in its time
    return url


def measure(url, folder):
    """Return what each request takes on the board in this database: name, median, fastest."""
    users = users_at(url)
    server = Server(folder, DATABASE_URL=url)
    try:
        scorer = server.user(f"scorer-{time.time_ns()}", "scorer")
        return list(_rows(server, scorer, users))
    finally:
        server.stop()


@contextlib.contextmanager
def application(url):
    """Have an application on this database, in this process."""
    app = create_app(Config.from_environment({**SECRETS, "DATABASE_URL": url}))
    with app.app_context():
        yield
        db.engine.dispose()


def users_at(url):
    """Return the user at each depth of the board, and the cursor of the page after it."""
    order = select(Standing.score, Standing.reached_at, Standing.user_id)
    order = order.where(Standing.hidden.is_(False)).order_by(*standing_order())
    with application(url):
        found = database.read(lambda c: c.execute(order).all())
        stamp = database.read(leaderboard.stamp)
        users = {}
        for depth in DEPTHS:
            position = max(1, int(depth * len(found)))
            last = Last(Place(*found[position - 1]), position, position, stamp)
            users[depth] = last.place.user_id, showing._cursor_after(last)
    return users


def _rows(server, scorer, users):
    def update():
        # Of somebody near the end, and to what it was but for a fraction: nobody else moves.
        body = scorer.update(-time.time(), nonce=str(time.time_ns()))
        status, told = server.send(scorer.token, {**body, "user_id": users[1][0]})
        assert status == 200, told

    get = _getter(server)
    yield "top 10", *_taken(lambda: get("/api/score/top10"))
    yield "first page", *_taken(lambda: get("/api/leaderboard"))
    for depth, (user, cursor) in users.items():
        deep = f"/api/leaderboard?cursor={cursor}"
        yield f"page at {depth:.0%}", *_taken(lambda deep=deep: get(deep))
        path = f"/api/leaderboard/users/{user}"
        yield f"rank at {depth:.0%}", *_taken(lambda path=path: get(f"{path}?around=0"))
        yield f"neighbours at {depth:.0%}", *_taken(lambda path=path: get(path))
    etag = get.etag("/api/leaderboard")
    headers = {"If-None-Match": etag}
    yield "first page, not modified", *_taken(lambda: get("/api/leaderboard", headers, 304))
    user, cursor = users[0.5]
    for name, path in {
        "first page": "/api/leaderboard",
        "page at 50%": f"/api/leaderboard?cursor={cursor}",
        "neighbours at 50%": f"/api/leaderboard/users/{user}",
    }.items():
        yield f"{name}, after an update", *_taken(lambda path=path: get(path), update)


def _getter(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)

    def ask(path, headers=None, status=200):
        connection.request("GET", path, headers=headers or {})
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == status, body
        return answer, body

    def get(path, headers=None, status=200):
        body = ask(path, headers, status)[1]
        return json.loads(body) if body else None

    get.etag = lambda path: ask(path)[0].headers["ETag"]
    return get


def _taken(request, before=lambda: None):
    """Return the median and the least milliseconds that the request takes; the first is not one."""
    before()
    request()
    taken = []
    for _ in range(TIMES):
        before()
        started = time.perf_counter()
        request()
        taken.append(1e3 * (time.perf_counter() - started))
    return median(taken), min(taken)


def main(sizes):
    for kind in ("sqlite", "postgres"):
        for size in sizes:
            folder = Path(tempfile.mkdtemp())
            print(f"\n{kind}, {size:,} players{'':16} median ms (fastest)", flush=True)
            for name, middle, least in measure(seeded(kind, folder, size), folder):
                print(f"  {name:36} {middle:9.2f} ({least:.2f})", flush=True)


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]] or SIZES)
