"""The clock: set back and forward by an hour during a run, it harms neither order nor limits."""

import functools
import re
import threading
import time
import uuid
from datetime import UTC, datetime, timedelta

import engineio
import pytest
import requests
from sqlalchemy import insert

from config import Config
from scoreboard import create_app
from scoreboard.auth import accounts
from scoreboard.cli.users import seed_players
from scoreboard.db import transactions as database
from scoreboard.db.rate_limits import RedisLimits
from scoreboard.extensions import db
from scoreboard.leaderboard import top10 as board
from scoreboard.models import RevokedToken
from scoreboard.observability import metrics
from scoreboard.permissions import Caller
from scoreboard.realtime import connections, maintenance
from scoreboard.realtime.connections import PING_INTERVAL, Connections, LiveConnection
from scoreboard.scores.records import Update
from scoreboard.services import services
from tests.support import databases
from tests.support.backing_services import OwnRedis
from tests.support.clocks import HOUR, Clock
from tests.support.servers import Server
from tests.support.subscribers import PATH, PlainViewer, SocketIoViewer
from tests.support.tokens import mint
from tests.support.waiting import wait_until

START = datetime(2026, 1, 1, tzinfo=UTC)
JUMPS = [HOUR, -HOUR]


class Set(datetime):
    """The moments of a clock that is wrong by so many seconds."""

    wrong = 0.0

    @classmethod
    def now(cls, zone=None):
        return datetime.now(zone) + timedelta(seconds=cls.wrong)


@pytest.fixture
def set_clock(monkeypatch):
    """Return a function that sets this process's wall clock so many seconds ahead of the time."""
    true, true_ns = time.time, time.time_ns

    def set_to(seconds):
        monkeypatch.setattr(Set, "wrong", seconds)
        monkeypatch.setattr(time, "time", lambda: true() + seconds)
        monkeypatch.setattr(time, "time_ns", lambda: true_ns() + int(seconds * 1e9))

    return set_to


@pytest.fixture(scope="module")
def own_redis(tmp_path_factory):
    redis = OwnRedis(tmp_path_factory.mktemp("redis"))
    yield redis
    redis.stop()


class TestOrder:
    """Order in server time is the order of the commits, whatever the clocks say."""

    @pytest.fixture
    def apps(self, make_app):
        """Return two processes with one database."""
        return [make_app(), make_app()]

    def users(self, app, count):
        with app.app_context():
            return [
                accounts.create(f"Ann {n}", f"{n}@example.com", None, "player").user_id
                for n in range(count)
            ]

    def record(self, app, *user_ids, identity="x"):
        updates = [Update(user, 5.0, START, identity, user) for user in user_ids]
        with app.app_context():
            return services(app).ledger.record_all(updates, time.perf_counter())

    def test_ties_rank_by_the_commits_of_processes_whose_clocks_differ(self, apps, set_clock):
        users = self.users(apps[0], 10)

        receipts = []
        for number, user in enumerate(users):
            set_clock(JUMPS[number % 2])
            receipts += self.record(apps[number % 2], user)

        with apps[0].app_context():
            assert [entry.user_id for entry in database.read(board.top)] == users
        moments = [receipt.created_at for receipt in receipts]
        assert moments == sorted(set(moments))

    def test_a_restarted_process_whose_clock_was_set_back_goes_on_behind(self, make_app, set_clock):
        users = self.users(make_app(), 3)

        for user, ahead in zip(users, (HOUR, 0, -HOUR), strict=True):
            set_clock(ahead)
            self.record(make_app(), user)

        with make_app().app_context():
            assert [entry.user_id for entry in database.read(board.top)] == users

    def test_updates_together_keep_their_order_and_a_replay_among_them_its_receipt(
        self, apps, set_clock
    ):
        first, *users = self.users(apps[0], 5)
        set_clock(HOUR)
        (receipt,) = self.record(apps[0], first)

        set_clock(0)
        _, replayed, *receipts = self.record(apps[1], users[0], first, *users[1:])

        assert replayed.receipt == receipt.body()
        assert min(each.created_at for each in receipts) > receipt.created_at
        with apps[0].app_context():
            assert [entry.user_id for entry in database.read(board.top)] == [first, *users]

    def test_seeded_scores_are_in_the_same_order(self, apps, set_clock):
        set_clock(HOUR)
        (before,) = self.record(apps[0], *self.users(apps[0], 1))

        set_clock(0)
        with apps[1].app_context():
            seeded = [player["user_id"] for player in seed_players(3, scores=True)]
            places = database.read(
                lambda c: c.exec_driver_sql(
                    "SELECT created_at, user_id FROM scores ORDER BY created_at"
                ).all()
            )

        assert [user_id for _, user_id in places] == [before.user_id, *seeded]
        assert len({moment for moment, _ in places}) == 4

    def test_once_the_clock_is_right_again_so_are_the_moments(self, app, set_clock):
        users = self.users(app, 2)
        set_clock(-HOUR)
        self.record(app, users[0])

        set_clock(0)
        earliest = datetime.now(UTC)
        (receipt,) = self.record(app, users[1])

        assert earliest <= receipt.created_at <= datetime.now(UTC)


class TestLimits:
    """A limit is neither forgotten nor does it refuse any longer."""

    @pytest.mark.parametrize("settings", [{"LOGIN_RATE_LIMIT": "1/minute"}])
    @pytest.mark.parametrize("jump", JUMPS)
    def test_a_jump_makes_the_wait_no_longer_than_the_period(self, client, set_clock, jump):
        guess = {"username": "nobody", "password": "wrong horse"}
        client.post("/api/auth/login", json=guess)
        set_clock(jump)

        answer = client.post("/api/auth/login", json=guess)

        assert answer.status_code == 429
        assert 1 <= int(answer.headers["Retry-After"]) <= 60

    @pytest.mark.parametrize("settings", [{"VIEWER_RATE_LIMIT": "2/minute"}])
    def test_the_limit_of_an_address_holds_through_jumps(self, client, set_clock):
        answers = []
        for jump in (0, HOUR, -HOUR, 0):
            set_clock(jump)
            answers.append(client.post("/api/auth/viewer"))

        assert [answer.status_code for answer in answers] == [200, 200, 429, 429]
        assert {answer.headers.get("Retry-After") for answer in answers[2:]} == {"60"}


class TestLimitsInRedis:
    """All processes count by one clock, Redis's."""

    @pytest.fixture
    def storage(self, own_redis):
        own_redis.client.flushall()
        return RedisLimits(f"limits+{own_redis.url}", metrics.Metrics())

    @pytest.fixture
    def let_pass(self, own_redis):
        """Return a function that lets so many seconds pass by Redis's clock; less than 0: back."""

        def move(seconds):
            for key in own_redis.client.scan_iter():
                entries = own_redis.client.lrange(key, 0, -1)
                own_redis.client.delete(key)
                own_redis.client.rpush(key, *(repr(float(entry) - seconds) for entry in entries))

        return move

    def test_processes_whose_clocks_differ_count_together(self, storage, set_clock):
        let_through = []
        for ahead in (0, HOUR, -HOUR, HOUR, 0, -HOUR):
            set_clock(ahead)
            let_through.append(storage.acquire_entry("key", 3, 60))

        assert let_through == [True, True, True, False, False, False]

    def test_what_a_process_counted_before_it_was_set_back_counts_no_longer(
        self, storage, let_pass, set_clock
    ):
        set_clock(HOUR)
        storage.acquire_entry("key", 2, 10)
        let_pass(6)
        set_clock(0)
        storage.acquire_entry("key", 2, 10)

        let_pass(3)
        assert not storage.acquire_entry("key", 2, 10)
        let_pass(2)
        assert storage.acquire_entry("key", 2, 10)

    def test_as_many_are_let_through_in_any_window_as_the_limit(self, storage, let_pass):
        let_through = []
        for minute in range(60):
            if storage.acquire_entry("key", 3, 600):
                let_through.append(minute)
            let_pass(60)

        assert let_through == [minute for minute in range(60) if minute % 10 < 3]

    @pytest.mark.parametrize("ahead", [0, *JUMPS])
    def test_a_window_is_told_by_the_clock_of_whoever_asks(
        self, storage, let_pass, set_clock, ahead
    ):
        storage.acquire_entry("key", 3, 60)
        let_pass(40)
        storage.acquire_entry("key", 3, 60)

        set_clock(ahead)
        began, count = storage.get_moving_window("key", 3, 60)

        assert count == 2
        assert began == pytest.approx(time.time() - 40, abs=10)

    def test_the_window_of_a_key_with_nothing_in_it_begins_now(self, storage):
        began, count = storage.get_moving_window("key", 3, 60)

        assert (began, count) == (pytest.approx(time.time(), abs=10), 0)

    def test_if_redis_itself_is_set_back_counting_begins_anew(self, storage, let_pass):
        storage.acquire_entry("key", 1, 60)
        let_pass(-HOUR)

        assert storage.acquire_entry("key", 1, 60)
        assert not storage.acquire_entry("key", 1, 60)

    def test_a_redis_that_was_restarted_is_given_the_script_again(self, storage, own_redis):
        storage.acquire_entry("key", 1, 60)
        own_redis.client.script_flush()

        assert not storage.acquire_entry("key", 1, 60)


class TestConnections:
    """Only its token ends a connection by the clock."""

    @pytest.fixture
    def watch(self, monkeypatch):
        """Return a clock for the connections that goes when it is told to."""

        class Watch:
            passed = 1000.0
            wall = 1_800_000_000.0

            def monotonic(self):
                return self.passed

            def time(self):
                return self.wall

        watch = Watch()
        monkeypatch.setattr(connections, "time", watch)
        return watch

    @pytest.fixture
    def told(self):
        """Return what the connection was told, in order."""
        return []

    @pytest.fixture
    def one(self, watch, told):
        one = LiveConnection(
            "127.0.0.1",
            metrics.WEBSOCKET,
            close=lambda code, reason: told.append(reason),
            ping=lambda: told.append("ping"),
        )
        self.all = Connections(per_address=10, metrics=metrics.Metrics())
        self.all.open(one)
        return one

    def admit(self, one, expires_at):
        self.all.admit(one, Caller("ann", "player", 0, expires_at, ()), "token")

    def sweep(self, watch, seconds=0.0, jump=0.0):
        watch.passed += seconds
        watch.wall += seconds + jump
        self.all.sweep(watch.monotonic())

    @pytest.mark.parametrize("jump", JUMPS)
    def test_one_has_ten_seconds_to_authenticate(self, one, watch, told, jump):
        self.sweep(watch, 9.5, jump)
        assert told == []

        self.sweep(watch, 0.5)
        assert told == ["not_authenticated"]

    @pytest.mark.parametrize("jump", JUMPS)
    def test_one_that_has_signed_off_has_five_to_leave(self, one, watch, told, jump):
        self.admit(one, watch.wall + 2 * HOUR)
        self.all.leave(one)

        self.sweep(watch, 4.5, jump)
        assert told == []

        self.sweep(watch, 0.5)
        assert told == ["not_authenticated"]

    @pytest.mark.parametrize("jump", JUMPS)
    def test_one_is_pinged_as_often_as_ever(self, one, watch, told, jump):
        self.admit(one, watch.wall + 3 * HOUR)

        self.sweep(watch, PING_INTERVAL - 1, jump)
        assert told == []

        for _ in range(2 * PING_INTERVAL):
            self.sweep(watch, 1)
        assert told == ["ping", "ping"]

    def test_a_token_has_expired_once_the_clock_says_so(self, one, watch, told):
        self.admit(one, watch.wall + HOUR)

        self.sweep(watch, 1, jump=HOUR - 2)
        assert told == []

        self.sweep(watch, jump=1)
        assert told == ["token_expired"]

    def test_a_token_is_good_for_longer_if_the_clock_was_set_back(self, one, watch, told):
        self.admit(one, watch.wall + 20)

        self.sweep(watch, 20, jump=-10)
        assert told == []

        self.sweep(watch, 10)
        assert told == ["token_expired"]


class TestEndedSessions:
    """Who looks for what other processes ended finds it, though the clock was set meanwhile."""

    @pytest.fixture
    def closed(self, app):
        """Return what a connection of Ann's was told when it was closed."""
        closed = []
        connection = LiveConnection(
            "127.0.0.1", metrics.WEBSOCKET, close=lambda code, reason: closed.append(reason)
        )
        services(app).connections.on_first_connection(lambda: None)
        services(app).connections.open(connection)
        caller = Caller("ann", "player", 0, time.time() + HOUR, ("ann's",))
        services(app).connections.admit(connection, caller, "token")
        return closed

    @pytest.fixture
    def sessions(self, monkeypatch):
        monkeypatch.setattr(maintenance, "datetime", Set)
        return maintenance.Sessions()

    def end(self):
        now = Set.now(UTC)
        row = {"token_id": "ann's", "revoked_at": now, "expires_at": now + timedelta(days=1)}
        database.transaction(lambda c: c.execute(insert(RevokedToken), row))

    @pytest.mark.parametrize("jump", JUMPS)
    def test_set_after_it_was_ended(self, app, sessions, closed, set_clock, jump):
        self.end()
        set_clock(jump)

        sessions.end_sessions(app)

        assert closed == ["token_revoked"]

    @pytest.mark.parametrize("jump", JUMPS)
    def test_set_before_it_was_ended(self, app, sessions, closed, set_clock, jump):
        set_clock(jump)
        self.end()

        sessions.end_sessions(app)

        assert closed == ["token_revoked"]

    def test_what_was_seen_is_not_looked_for_for_ever(self, app, sessions, closed, set_clock):
        sessions.end_sessions(app)
        self.end()
        set_clock(HOUR)
        sessions.end_sessions(app)

        sessions.end_sessions(app)

        assert closed == ["token_revoked"]


class Run:
    """A run of updates while the clocks of all processes are set back and forward by an hour.

    Of two processes one is ahead while the other is behind.
    """

    LIMIT = 4

    def __init__(self, servers, clocks):
        self.servers, self.clocks = servers, clocks
        self.scorer, self.limited, *self.users = people(servers[0].environment, 32)
        self.token = self.mint(lifetime=timedelta(hours=9))
        self.viewers = [
            kind(server.url, self.token)
            for server in servers
            for kind in (PlainViewer, SocketIoViewer, Polling)
        ]
        for viewer in self.viewers:
            viewer.wait_for_count(1)
        self.expiring = PlainViewer(servers[0].url, self.mint(lifetime=timedelta(minutes=30)))
        self.silent = Silent(servers[0].url)
        self.accepted, self.limits = [], []

    def mint(self, lifetime):
        """Return a token that was issued before whatever the clocks will show."""
        now = datetime.now(UTC)
        return mint(self.scorer, iat=now - timedelta(hours=9), exp=now + lifetime)

    def play(self):
        users = iter(self.users)
        for turn, seconds in enumerate((HOUR, -HOUR, 0, HOUR, 0, -HOUR)):
            for clock, direction in zip(self.clocks, (1, -1), strict=False):
                clock.set(seconds * direction)
            self.let_them_look()
            for server in (self.servers[0], self.servers[-1]):
                self.accepted.append(server.post(self.token, self.update(next(users))).json())
            self.accepted += self.post_together([next(users) for _ in range(3)])
            server = self.servers[turn % len(self.servers)]
            answer = server.post(self.token, self.update(self.limited))
            self.limits.append(answer)
            if answer.ok:
                self.accepted.append(answer.json())

    def let_them_look(self):
        """Wait until every process has looked after its connections by the new clock."""
        wanted = [looks(server) + 2 for server in self.servers]
        for server, count in zip(self.servers, wanted, strict=True):
            wait_until(lambda server=server, count=count: looks(server) >= count)

    def update(self, user_id):
        nonce = uuid.uuid4().hex
        return {"user_id": user_id, "score_value": 5, "timestamp": f"{START}", "nonce": nonce}

    def post_together(self, user_ids):
        answer = requests.post(
            f"{self.servers[-1].url}/api/score/batch",
            json={"updates": [self.update(user_id) for user_id in user_ids]},
            headers={"Authorization": f"Bearer {self.token}"},
            timeout=10,
        )
        return [result["body"] for result in answer.json()["results"]]

    def close(self):
        for viewer in (*self.viewers, self.expiring):
            viewer.close()
        for server in self.servers:
            server.stop()


Polling = functools.partial(SocketIoViewer, transports=["polling"])


class Silent:
    """A Socket.IO connection that never authenticates. `lived` is for how long, in seconds."""

    def __init__(self, url):
        self.ended, self.lived = threading.Event(), None
        client = engineio.Client()
        client.on("disconnect", self._ended)
        client.connect(url, transports=["websocket"], engineio_path=PATH)
        self._started = time.monotonic()

    def _ended(self, *reason):
        self.lived = time.monotonic() - self._started
        self.ended.set()


def people(environment, count):
    """Make users on the database of a server, the first of them a scorer; return their ids."""
    app = create_app(Config.from_environment(environment))
    with app.app_context():
        user_ids = [player["user_id"] for player in seed_players(count, scores=False)]
        accounts.set_role(user_ids[0], "scorer")
        db.engine.dispose()
    return user_ids


def looks(server):
    """Return how often a process has looked after its connections."""
    told = requests.get(f"{server.url}/metrics", timeout=10).text
    return float(re.search(r"^scoreboard_loop_lag_seconds_count (\S+)", told, re.M)[1])


def scores(viewer):
    return [m["data"]["user_id"] for m in viewer.messages() if m["type"] == "score_update"]


@pytest.fixture(scope="module", params=["alone", "two with Redis"])
def run(request, tmp_path_factory, own_redis):
    """Return what came of a run of real processes, which are still there."""
    settings, count = {"SCORE_RATE_LIMIT": f"{Run.LIMIT}/hour"}, 1
    if request.param != "alone":
        settings["DATABASE_URL"], count = databases.new_database(), 2
        settings["REDIS_URL"] = own_redis.url
    folders = [tmp_path_factory.mktemp("process") for _ in range(count)]
    clocks = [Clock(folder / "clock") for folder in folders]
    servers = [
        Server(folder, **settings, **clock.environment)
        for folder, clock in zip(folders, clocks, strict=True)
    ]
    run = Run(servers, clocks)
    run.play()
    yield run
    run.close()


class TestARun:
    """From outside: real processes, whose clocks are set while they run."""

    def test_every_update_within_the_limits_is_accepted(self, run):
        accepted = {body.get("user_id") for body in run.accepted}

        assert accepted == {run.limited, *run.users}
        assert len(run.accepted) == len(run.users) + Run.LIMIT

    def test_the_moments_are_in_the_order_of_the_answers(self, run):
        moments = [body["created_at"] for body in run.accepted]

        assert moments == sorted(set(moments))

    def test_ties_rank_in_the_order_of_the_answers(self, run):
        in_order = list(dict.fromkeys(body["user_id"] for body in run.accepted))

        for server in run.servers:
            assert [entry["user_id"] for entry in server.top10()] == in_order[:10]

    def test_every_viewer_has_stayed_and_got_all_in_that_order(self, run):
        expected = [body["user_id"] for body in run.accepted]

        for viewer in run.viewers:
            viewer.wait_for(lambda _, viewer=viewer: len(scores(viewer)) >= len(expected))
            assert scores(viewer) == expected
            assert not viewer.ended.is_set()

    def test_no_more_are_let_through_than_the_limit(self, run):
        statuses = [answer.status_code for answer in run.limits]

        assert statuses == [200] * Run.LIMIT + [429] * (len(statuses) - Run.LIMIT)

    def test_whoever_is_refused_is_told_a_wait_within_the_period(self, run):
        waits = [int(answer.headers["Retry-After"]) for answer in run.limits[Run.LIMIT :]]

        assert all(HOUR - 300 < wait <= HOUR for wait in waits)

    def test_a_token_that_expires_ends_its_connection(self, run):
        assert run.expiring.ended.wait(10)
        assert run.expiring.code == 4401

    def test_one_that_does_not_authenticate_has_ten_seconds(self, run):
        assert run.silent.ended.wait(15)
        assert 9 < run.silent.lived < 15

    def test_no_process_has_found_anything_unforeseen(self, run):
        assert all("Traceback" not in server.log() for server in run.servers)
