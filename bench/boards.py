"""Measure what boards cost: derived boards, several ledgers, idle and many boards, subscribing."""

import contextlib
import http.client
import json
import os
import random
import select
import tempfile
import time
from pathlib import Path
from statistics import median

import requests

from tests.support import sql
from tests.support.backing_services import RedisServer
from tests.support.servers import Server

from . import rates, wire
from .clients import HttpClient, Load, MeasurementFailed, received, socketio_connection
from .pushes import subscribed
from .servers import Ours, token
from .table import Figure
from .updates import Updates

SECONDS = 2  # of each measurement of a rate
DERIVED = (0, 1, 4, 8)
KINDS = (
    {"policy": "best", "reset": {"every": "day", "at": "06:00", "time_zone": "Europe/Vienna"}},
    {"policy": "total", "reset": {"every": "month", "on": 1, "at": "06:00", "time_zone": "UTC"}},
    {"policy": "latest"},
    {"policy": "best", "order": "asc"},
)
WAYS = {"by HTTP": rates.updates_by_http, "in batches of 100": rates.updates_in_batches}
PROCESSES, CONNECTIONS = 3, 12  # of each process
WARM_UP_BOARDS, IDLE, IDLE_SECONDS = 20, 500, 10
USERS, BOARDS = 1_000_000, 1000  # one board of all users, the others of the first thousand
READS, SUBSCRIPTIONS = 100, 15

# No server could record a million updates in time; all these standings refer to one score.
_NUMBERS = "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < "
_USER = "'00000000-0000-4000-8000-' || substr(CAST(1000000000000 + n AS text), 2)"
MANY = (
    "INSERT INTO users (user_id, username, name_key, email, role, created_at)"
    f" {_NUMBERS} {USERS}) SELECT {_USER}, 'u' || n, 'u' || n, 'u' || n, 'player',"
    " (SELECT min(created_at) FROM users) FROM numbers",
    'INSERT INTO boards (board_id, title, policy, "order", format, submit, public, state,'
    f" created_at) {_NUMBERS} {BOARDS}) SELECT 'b' || n, 'b', 'best', 'desc', 'number', 'player',"
    " true, 'open', (SELECT min(created_at) FROM users) FROM numbers",
    "INSERT INTO board_versions (board_id, version, stamp, clock, settings_version, season)"
    " SELECT board_id, 0, 'stamp', 0, 0, 1 FROM boards WHERE board_id LIKE 'b%'",
    "INSERT INTO seasons (board_id, number, starts_at, after_score_id)"
    " SELECT board_id, 1, created_at, 0 FROM boards WHERE board_id LIKE 'b%'",
    *(
        "INSERT INTO standings (user_id, board_id, season, rank_key, remainder, reached_at,"
        f" achieved_at, score_id, hidden) {_NUMBERS} {users}) SELECT {_USER}, board_id, 1, -n, 0,"
        " boards.created_at, boards.created_at, (SELECT min(score_id) FROM scores), false"
        f" FROM numbers CROSS JOIN boards WHERE {boards}"
        for users, boards in ((1000, "board_id LIKE 'b%'"), (USERS, "board_id = 'large'"))
    ),
    "ANALYZE",
)


def _create(server, board_id, **fields):
    """Create a board."""
    if not hasattr(server, "admin_token"):
        server.admin_token = token(server.user("bench-admin", "admin").user_id, "admin")
    response = requests.post(
        f"{server.url}/api/admin/boards",
        json={"board_id": board_id, "title": board_id, **fields},
        headers={"Authorization": f"Bearer {server.admin_token}"},
        timeout=30,
    )
    if response.status_code != 201:
        raise MeasurementFailed(f"a board was not created: {response.text}")


def measure_boards(table, database, server_classes, rounds):
    """Measure what boards cost on our server, which alone has them."""
    measures = [measure_derived, measure_idle, measure_many]
    for measure in measures + [measure_ledgers] * (database == "postgres"):
        for figure, value in measure(database, rounds):
            table.add(figure, database, Ours.name, value)


def measure_derived(database, rounds):
    """Yield rates and costs of updates of ledgers with derived boards, measured alternately."""
    with contextlib.closing(Ours(database)) as server:
        updates = {}
        for count in DERIVED:
            _create(server, f"with-{count}")
            for number in range(count):
                kind = KINDS[number % len(KINDS)]
                _create(server, f"with-{count}-{number}", source=f"with-{count}", **kind)
            server.updates = updates[count] = Updates(server.players, f"with-{count}")
            rates.give_all_players_a_score(server)
        for _ in range(rounds):
            for way, measure in WAYS.items():
                found = {}
                for count in DERIVED:
                    server.updates = updates[count]
                    found[count] = measure(server, SECONDS)
                    yield Figure(f"updates/s {way}, {count} derived boards"), found[count]
                for count in DERIVED[1:]:
                    label = f"cost of an update {way}, {count} derived boards, × none"
                    yield Figure(label, True, 2), found[0] / found[count]


def measure_ledgers(database, rounds):
    """Yield the updates/s of three processes into one ledger and into one each, alternately."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        redis = RedisServer(folder)
        stack.callback(redis.stop)
        first = stack.enter_context(contextlib.closing(Ours(database, REDIS_URL=redis.url)))
        for thread in os.listdir(f"/proc/{first.process.pid}/task"):
            os.sched_setaffinity(int(thread), range(os.cpu_count()))
        servers = [first]
        for number in range(1, PROCESSES):
            (folder / str(number)).mkdir()
            settings = {"DATABASE_URL": first.database, "REDIS_URL": redis.url, **Ours.settings}
            servers.append(Server(folder / str(number), **settings))
            stack.callback(servers[-1].stop)
        updates = []
        for number in range(PROCESSES):
            _create(first, f"ledger-{number}")
            first.updates = Updates(first.players, f"ledger-{number}")
            rates.give_all_players_a_score(first)
            updates.append(first.updates)
        for _ in range(rounds):
            for count in (1, PROCESSES):
                figure = Figure(f"updates/s of {PROCESSES} processes, ledgers: {count}")
                yield figure, _rate(servers, first, [updates[n % count] for n in range(PROCESSES)])


def _rate(servers, first, updates):
    """Return the accepted updates/s when each server gets its updates over 12 connections."""
    of_client = {
        HttpClient(server, first.scorer_token): of_server
        for server, of_server in zip(servers, updates, strict=True)
        for _ in range(CONNECTIONS)
    }
    accepted, before = rates.AcceptedUpdates(first), len(first.recorded())
    load = Load(of_client, lambda each: each.post(of_client[each].next()), accepted.accept)
    rate = load.run(SECONDS)
    accepted.check(before)
    return rate


def measure_idle(database, rounds):
    """Yield CPU and memory of a server with boards that were updated once, and a subscriber."""
    for _ in range(rounds):
        with contextlib.closing(Ours(database)) as server, subscribed(server, 1):
            memory = []
            for count in (WARM_UP_BOARDS, IDLE):
                for number in range(count):
                    _create(server, f"idle-{count}-{number}", **KINDS[0])
                    server.updates = Updates(server.players[:1], f"idle-{count}-{number}")
                    rates.give_all_players_a_score(server)
                server.settle()
                memory.append(server.resident_bytes())
                cpu = server.cpu_seconds()
                time.sleep(IDLE_SECONDS)
                figure = Figure(f"CPU of an idle server with {count} boards, ms/s", True, 2)
                yield figure, 1000 * (server.cpu_seconds() - cpu) / IDLE_SECONDS
            figure = Figure(f"memory of {IDLE} idle boards, MiB", True, 2)
            yield figure, (memory[1] - memory[0]) / 2**20


def measure_many(database, rounds):
    """Yield the latency of reads with many boards, and of the list of a first subscriber."""
    with contextlib.closing(Ours(database)) as server:
        _create(server, "large")
        rates.give_all_players_a_score(server)
        for statement in MANY:
            sql.query(server.database, statement)
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        user_id = "00000000-0000-4000-8000-000000000500"
        paths = {"top 10": "top10", "rank 500": f"leaderboard/users/{user_id}"}
        boards = {
            f"{BOARDS:,} boards of 1,000 users": lambda: f"b{random.randint(1, BOARDS // 2)}",
            f"a board of {USERS:,} users": lambda: "large",
        }
        unwatched = iter(range(BOARDS // 2 + 1, BOARDS))
        for _ in range(rounds):
            for name, path in paths.items():
                for kind, board in boards.items():
                    times = [_read(connection, f"{board()}/{path}") for _ in range(READS)]
                    yield Figure(f"{name}, {kind}, ms", True, 2), median(times)
            watching = socketio_connection(server.port, server.viewer_token())
            for _ in range(SUBSCRIPTIONS):
                figure = Figure("list of a board's first subscriber, ms", True, 2)
                yield figure, _subscribe(watching, f"b{next(unwatched)}")
            watching.close()


def _read(connection, path):
    """Return the milliseconds that a read of a board takes."""
    started_at = time.perf_counter()
    connection.request("GET", f"/api/boards/{path}")
    response = connection.getresponse()
    body = response.read()
    if response.status != 200:
        raise MeasurementFailed(f"{path} returned {response.status}: {body[:200]}")
    return 1000 * (time.perf_counter() - started_at)


def _subscribe(connection, board_id):
    """Return the milliseconds until a Socket.IO connection gets the list of another board."""
    started_at, data, deadline = time.perf_counter(), bytearray(), time.monotonic() + 10
    event = json.dumps(["subscribe", {"board": board_id}]).encode()
    connection.send(wire.text_frame(b"42" + event))
    while f'"board":"{board_id}"'.encode() not in data:
        if not select.select([connection], [], [], 1)[0] and time.monotonic() > deadline:
            raise MeasurementFailed(f"a subscriber of {board_id} got {data}")
        data += received(connection)
    return 1000 * (time.perf_counter() - started_at)
