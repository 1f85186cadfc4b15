"""Clocks that jump by an hour change neither the order of the board nor rate limits."""

import functools
import threading
import time
import uuid
from datetime import UTC, datetime, timedelta

import engineio
import pytest
import requests

from scoreboard.auth import accounts
from scoreboard.cli.users import seed_players
from scoreboard.db import transactions
from scoreboard.db.rate_limits import RedisLimits
from scoreboard.observability import metrics
from scoreboard.scores.records import Update
from scoreboard.services import services
from tests.support import databases, football
from tests.support.backing_services import RedisServer
from tests.support.clocks import HOUR, Clock
from tests.support.ledgers import read_top10
from tests.support.metrics import series
from tests.support.servers import Server
from tests.support.subscribers import PATH, SocketIoClient, WebSocketClient
from tests.support.tokens import mint
from tests.support.waiting import wait_until

START = datetime(2026, 1, 1, tzinfo=UTC)
JUMPS = [HOUR, -HOUR]


@pytest.fixture
def set_clock(monkeypatch):
    """Return a function that sets the wall clock of this process ahead by some seconds."""
    true, true_ns = time.time, time.time_ns

    def set_to(seconds):
        monkeypatch.setattr(time, "time", lambda: true() + seconds)
        monkeypatch.setattr(time, "time_ns", lambda: true_ns() + int(seconds * 1e9))

    return set_to


@pytest.fixture(scope="module")
def own_redis(tmp_path_factory):
    redis = RedisServer(tmp_path_factory.mktemp("redis"))
    yield redis
    redis.stop()


def create_users(app, count):
    with app.app_context():
        return [
            accounts.create(f"Ann {n}", f"{n}@example.com", None, "player").user_id
            for n in range(count)
        ]


def record(app, *user_ids):
    with app.app_context():
        updates = [Update(user_id, 5.0, START, "x", user_id) for user_id in user_ids]
        return services(app).ledgers.get().record_all(updates)


def ranked(app):
    with app.app_context():
        return [entry["user_id"] for entry in read_top10()]


class TestOrder:
    """The order in server time is the order of the commits, whatever the clocks show."""

    @pytest.fixture
    def apps(self, make_app):
        """Return two processes with one database."""
        return [make_app(), make_app()]

    def test_a_batch_keeps_its_order_and_a_replay_in_it_has_its_receipt(self, apps, set_clock):
        first, *users = create_users(apps[0], 5)
        set_clock(HOUR)
        (receipt,) = record(apps[0], first)

        set_clock(0)
        _, replayed, *receipts = record(apps[1], users[0], first, *users[1:])

        assert replayed.receipt == receipt.body()
        assert min(each.created_at for each in receipts) > receipt.created_at
        assert ranked(apps[0]) == [first, *users]

    def test_seeded_scores_rank_after_earlier_updates(self, apps, set_clock):
        set_clock(HOUR)
        (before,) = record(apps[0], *create_users(apps[0], 1))

        set_clock(0)
        with apps[1].app_context():
            seeded = [player["user_id"] for player in seed_players(3, scores=True)]
            rows = transactions.read(
                lambda c: c.exec_driver_sql(
                    "SELECT user_id, created_at FROM scores ORDER BY created_at"
                ).all()
            )

        assert [user_id for user_id, _ in rows] == [before.user_id, *seeded]
        assert len({moment for _, moment in rows}) == 4

    def test_server_time_is_correct_again_once_the_clock_is(self, app, set_clock):
        users = create_users(app, 2)
        set_clock(-HOUR)
        record(app, users[0])

        set_clock(0)
        earliest = datetime.now(UTC)
        (receipt,) = record(app, users[1])

        assert earliest <= receipt.created_at <= datetime.now(UTC)


@pytest.mark.parametrize("settings", [{"LOGIN_RATE_LIMIT": "1/minute"}])
@pytest.mark.parametrize("jump", JUMPS)
def test_a_jump_makes_the_wait_no_longer_than_the_period(client, set_clock, jump):
    guess = {"username": "unknown", "password": "wrong horse"}
    client.post("/api/auth/login", json=guess)
    set_clock(jump)

    response = client.post("/api/auth/login", json=guess)

    assert response.status_code == 429
    assert 1 <= int(response.headers["Retry-After"]) <= 60


@pytest.mark.parametrize("settings", [{"VIEWER_RATE_LIMIT": "2/minute"}])
def test_the_limit_of_an_address_holds_through_jumps(client, set_clock):
    responses = []
    for jump in (0, HOUR, -HOUR, 0):
        set_clock(jump)
        responses.append(client.post("/api/auth/viewer"))

    assert [response.status_code for response in responses] == [200, 200, 429, 429]
    assert {response.headers.get("Retry-After") for response in responses[2:]} == {"60"}


class TestLimitsInRedis:
    """All processes count by one clock, that of Redis."""

    @pytest.fixture
    def storage(self, own_redis):
        own_redis.client.flushall()
        return RedisLimits(f"limits+{own_redis.url}", metrics.Metrics())

    @pytest.fixture
    def advance(self, own_redis):
        """Return a function that makes all hits in Redis older by some seconds."""

        def advance(seconds):
            for key in own_redis.client.scan_iter():
                hits = own_redis.client.lrange(key, 0, -1)
                own_redis.client.delete(key)
                own_redis.client.rpush(key, *(repr(float(hit) - seconds) for hit in hits))

        return advance

    def test_a_hit_expires_by_the_clock_of_redis_alone(self, storage, advance, set_clock):
        set_clock(HOUR)
        storage.acquire_entry("key", 2, 10)
        advance(6)
        set_clock(0)
        storage.acquire_entry("key", 2, 10)

        advance(3)
        assert not storage.acquire_entry("key", 2, 10)
        advance(2)
        assert storage.acquire_entry("key", 2, 10)

    def test_any_window_has_at_most_as_many_hits_as_the_limit(self, storage, advance):
        accepted = []
        for minute in range(60):
            if storage.acquire_entry("key", 3, 600):
                accepted.append(minute)
            advance(60)

        assert accepted == [minute for minute in range(60) if minute % 10 < 3]

    def test_counting_starts_from_zero_if_redis_is_set_back(self, storage, advance):
        storage.acquire_entry("key", 1, 60)
        advance(-HOUR)

        assert storage.acquire_entry("key", 1, 60)
        assert not storage.acquire_entry("key", 1, 60)

    def test_the_script_is_loaded_again_if_redis_lost_it(self, storage, own_redis):
        storage.acquire_entry("key", 1, 60)
        own_redis.client.script_flush()

        assert not storage.acquire_entry("key", 1, 60)


class Run:
    """A run of updates while the clocks of all processes are set back and forward by an hour.

    Of two processes one is ahead while the other is behind.
    """

    LIMIT = 4

    def __init__(self, servers, clocks):
        self.servers, self.clocks = servers, clocks
        self.scorer = servers[0].user("Scorer", "scorer").user_id
        self.limited, *self.users = football.seed(servers[0], 31)
        self.token, revoked = self.mint(hours=9), self.mint(hours=9)
        self.subscribers = [
            connect(server.url, self.token)
            for server in servers
            for connect in (WebSocketClient, SocketIoClient, connect_by_polling)
        ]
        for subscriber in self.subscribers:
            subscriber.wait_for_count(1)
        self.expiring = WebSocketClient(servers[0].url, self.mint(minutes=30))
        self.revoked = WebSocketClient(servers[0].url, revoked)
        self.unauthenticated = Unauthenticated(servers[0].url)
        self.accepted, self.limits = [], []
        self.send_updates()
        self.post("auth/logout", revoked)

    def mint(self, **lifetime):
        """Return a token that was issued before all times that the clocks will show."""
        now = datetime.now(UTC)
        return mint(self.scorer, iat=now - timedelta(hours=9), exp=now + timedelta(**lifetime))

    def send_updates(self):
        users = iter(self.users)
        for step, seconds in enumerate((HOUR, -HOUR, 0, HOUR, 0, -HOUR)):
            for clock, direction in zip(self.clocks, (1, -1), strict=False):
                clock.set(seconds * direction)
            self.wait_for_maintenance()
            for server in (self.servers[0], self.servers[-1]):
                self.accepted.append(self.update(server, next(users)).json())
            batch = {"updates": [self.body(next(users)) for _ in range(3)]}
            results = self.post("score/batch", self.token, batch).json()["results"]
            self.accepted += [result["body"] for result in results]
            response = self.update(self.servers[step % len(self.servers)], self.limited)
            self.limits.append(response)
            if response.ok:
                self.accepted.append(response.json())

    def wait_for_maintenance(self):
        """Wait until every process has checked its connections by the new clock."""
        wanted = [maintenance_runs(server) + 2 for server in self.servers]
        for server, count in zip(self.servers, wanted, strict=True):
            wait_until(lambda server=server, count=count: maintenance_runs(server) >= count)

    def body(self, user_id):
        nonce = uuid.uuid4().hex
        return {"user_id": user_id, "score_value": 5, "timestamp": f"{START}", "nonce": nonce}

    def update(self, server, user_id):
        return server.post(self.token, self.body(user_id))

    def post(self, path, token, body=None):
        url, headers = self.servers[-1].url, {"Authorization": f"Bearer {token}"}
        return requests.post(f"{url}/api/{path}", json=body, headers=headers, timeout=10)

    def close(self):
        for subscriber in (*self.subscribers, self.expiring, self.revoked):
            subscriber.close()
        for server in self.servers:
            server.stop()


connect_by_polling = functools.partial(SocketIoClient, transports=["polling"])


class Unauthenticated:
    """A Socket.IO connection that never authenticates; `lifetime` is in seconds."""

    def __init__(self, url):
        self.ended, self.lifetime = threading.Event(), None
        client = engineio.Client()
        client.on("disconnect", self._on_disconnect)
        client.connect(url, transports=["websocket"], engineio_path=PATH)
        self._started = time.monotonic()

    def _on_disconnect(self, *reason):
        self.lifetime = time.monotonic() - self._started
        self.ended.set()


def maintenance_runs(server):
    """Return how often a process has checked its connections."""
    text = requests.get(f"{server.url}/metrics", timeout=10).text
    return series(text)["scoreboard_loop_lag_seconds_count",]


def updated_users(subscriber):
    messages = subscriber.messages()
    return [m["data"]["user_id"] for m in messages if m["type"] == "score_update"]


@pytest.fixture(scope="module", params=["one process", "two processes with Redis"])
def run(request, tmp_path_factory, own_redis):
    """Return a run after its updates; its processes still serve requests."""
    settings, count = {"SCORE_RATE_LIMIT": f"{Run.LIMIT}/hour"}, 1
    if request.param != "one process":
        settings["DATABASE_URL"], count = databases.new_database(), 2
        settings["REDIS_URL"] = own_redis.url
    folders = [tmp_path_factory.mktemp("process") for _ in range(count)]
    clocks = [Clock(folder / "clock") for folder in folders]
    servers = [
        Server(folder, **settings, **clock.environment)
        for folder, clock in zip(folders, clocks, strict=True)
    ]
    run = Run(servers, clocks)
    yield run
    run.close()


class TestARun:
    """Real processes, whose clocks are set while they run."""

    def test_every_update_within_the_limits_is_accepted(self, run):
        assert {body.get("user_id") for body in run.accepted} == {run.limited, *run.users}
        assert len(run.accepted) == len(run.users) + Run.LIMIT

    def test_server_times_are_in_the_order_of_the_responses(self, run):
        moments = [body["created_at"] for body in run.accepted]

        assert moments == sorted(set(moments))

    def test_ties_rank_in_the_order_of_the_responses(self, run):
        in_order = list(dict.fromkeys(body["user_id"] for body in run.accepted))

        for server in run.servers:
            assert [entry["user_id"] for entry in server.top10()] == in_order[:10]

    def test_every_subscriber_stays_connected_and_gets_all_updates_in_that_order(self, run):
        expected = [body["user_id"] for body in run.accepted]

        for each in run.subscribers:
            each.wait_for(lambda _, each=each: len(updated_users(each)) >= len(expected))
            assert updated_users(each) == expected
            assert not each.ended.is_set()

    def test_a_limit_is_not_exceeded_and_its_wait_is_within_the_period(self, run):
        statuses = [response.status_code for response in run.limits]
        refused = run.limits[Run.LIMIT :]

        assert statuses == [200] * Run.LIMIT + [429] * len(refused)
        assert all(HOUR - 300 < int(r.headers["Retry-After"]) <= HOUR for r in refused)

    @pytest.mark.parametrize("name", ["expiring", "revoked"])
    def test_a_token_that_expires_or_is_revoked_ends_its_connection(self, run, name):
        subscriber = getattr(run, name)

        assert subscriber.ended.wait(10)
        assert subscriber.code == 4401

    def test_a_connection_has_ten_seconds_to_authenticate(self, run):
        assert run.unauthenticated.ended.wait(15)
        assert 9 < run.unauthenticated.lifetime < 15

    def test_no_process_logs_a_traceback(self, run):
        assert all("Traceback" not in server.log() for server in run.servers)
