"""Several processes that share Postgres and Redis behave as one server."""

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
import requests

from tests.support import databases
from tests.support.backing_services import PostgresServer, RedisServer
from tests.support.football import matches, replay, seed
from tests.support.servers import SignedInUser, start_servers, stop_all
from tests.support.subscribers import SocketIoClient, WebSocketClient
from tests.support.waiting import wait_until

PROCESSES = 3
RESULTS = 1_000  # test_real_results.py posts more to one process
OUTAGE = 6  # seconds


@pytest.fixture
def redis(tmp_path):
    redis = RedisServer(tmp_path)
    yield redis
    redis.stop()


@pytest.fixture
def servers(tmp_path, redis):
    started = start_servers(
        tmp_path, PROCESSES, DATABASE_URL=databases.new_database(), REDIS_URL=redis.url
    )
    yield started
    stop_all(started)


@pytest.fixture
def scorer(servers):
    return servers[0].user("scorer", "scorer")


@pytest.fixture
def subscribers(servers, scorer, closing):
    """Return subscribers of both kinds to every process, which have the current top 10."""
    kinds = (WebSocketClient, SocketIoClient)
    subscribers = [closing(kind(server.url, scorer.token)) for server in servers for kind in kinds]
    for subscriber in subscribers:
        subscriber.wait_for_count(1)
    return subscribers


def score_updates(subscriber):
    return [m["data"] for m in subscriber.messages() if m["type"] == "score_update"]


def last_top10(subscriber):
    messages = [m["data"] for m in subscriber.messages() if m["type"] == "top_10_update"]
    return messages[-1]["top_10_scores"]


def new_update(user_ids, number):
    """Return a new update of one of these users."""
    now = datetime.now(UTC).isoformat()
    return SignedInUser(user_ids[number % len(user_ids)], "").update(
        number, now, nonce=uuid.uuid4().hex
    )


def wait_for_updates(servers, subscribers, count, seconds):
    """Wait until all subscribers have this many updates, in one order, and the current top 10."""
    for each in subscribers:
        each.wait_for(lambda _, each=each: len(score_updates(each)) >= count, seconds)
    assert all(score_updates(each) == score_updates(subscribers[0]) for each in subscribers)
    assert len(score_updates(subscribers[0])) == count
    wait_until(lambda: all(last_top10(each) == servers[0].top10() for each in subscribers), seconds)


def test_every_real_result_reaches_the_subscribers_of_every_process(servers, scorer, subscribers):
    expected = replay(servers, scorer, matches()[-RESULTS:])

    for subscriber in subscribers:
        subscriber.wait_for_count(len(expected.messages), seconds=30)
        assert subscriber.messages() == expected.messages
    assert all(server.top10() == expected.top10() for server in servers)


def test_updates_to_all_processes_at_once_have_one_order(servers, scorer, subscribers):
    user_ids = seed(servers[0], 15)

    def post(number):
        server = servers[number % PROCESSES]
        return server.post(scorer.token, new_update(user_ids, number)).status_code

    with ThreadPoolExecutor(24) as pool:
        assert set(pool.map(post, range(600))) == {200}

    wait_for_updates(servers, subscribers, 600, seconds=30)


def test_a_command_reaches_every_subscriber(servers, subscribers):
    servers[0].flask("users", "seed", "3", "--scores")

    for subscriber in subscribers:
        subscriber.wait_for_count(2)
        assert last_top10(subscriber) == servers[0].top10()


class TestRedisAway:
    """The database is the source of truth; Redis only makes updates faster."""

    @pytest.mark.parametrize(
        ("fail", "recover"),
        [
            (RedisServer.stop, RedisServer.start),
            (lambda redis: redis.pause(OUTAGE), None),
            (lambda redis: redis.client.config_set("maxmemory", "1"), None),
        ],
        ids=["stopped", "paused", "full"],
    )
    def test_every_update_reaches_every_subscriber_in_one_order(
        self, servers, scorer, subscribers, redis, fail, recover
    ):
        user_ids, stop = seed(servers[0], 15), threading.Event()

        def post_until_stopped():
            number = 0
            while not stop.wait(0.01):
                update = new_update(user_ids, number)
                assert servers[number % PROCESSES].post(scorer.token, update).status_code == 200
                number += 1
            return number

        with ThreadPoolExecutor(1) as pool:
            posting = pool.submit(post_until_stopped)
            fail(redis)
            stop.wait(OUTAGE)
            if recover:
                recover(redis)
            stop.wait(1)
            stop.set()
            count = posting.result(60)

        wait_for_updates(servers, subscribers, count, seconds=5)

    def test_a_new_subscriber_gets_the_top_10_and_every_update(
        self, servers, scorer, redis, closing
    ):
        redis.stop()

        subscriber = closing(WebSocketClient(servers[1].url, scorer.token))
        subscriber.wait_for_count(1)
        servers[0].post(scorer.token, scorer.update(1))

        assert subscriber.wait_for_count(3, seconds=5)


class TestPostgresAway:
    @pytest.fixture
    def postgres(self, tmp_path_factory):
        postgres = PostgresServer(tmp_path_factory.mktemp("postgres"))
        yield postgres
        postgres.stop()

    @pytest.fixture
    def url(self, postgres):
        return databases.migrated(postgres.url)

    def test_a_restart_loses_no_accepted_update(self, own_server, postgres, url):
        server = own_server(DATABASE_URL=url)
        scorer = server.user("scorer", "scorer")
        user_ids = seed(server, 20)
        results = []
        busy, restarted = threading.Event(), threading.Event()

        def post(number):
            """Post updates until one is accepted after the restart."""
            for _ in range(10_000):
                update = new_update(user_ids, number)
                response = server.post(scorer.token, update)
                results.append((response, update["nonce"]))
                if len(results) > 300:
                    busy.set()
                if restarted.is_set() and response.status_code == 200:
                    return True
            return False

        with ThreadPoolExecutor(200) as pool:
            posting = [pool.submit(post, number) for number in range(200)]
            assert busy.wait(60)
            try:
                postgres.restart()
            finally:
                restarted.set()
            assert all(posted.result(120) for posted in posting)

        with postgres.connect() as database:
            recorded = [row[0] for row in database.execute("SELECT identity FROM scores")]
        accepted = {nonce for response, nonce in results if response.ok}
        errors = {response.json()["error"]["code"] for response, _ in results if not response.ok}
        assert len(recorded) == len(set(recorded))
        assert accepted <= set(recorded)
        assert errors == {"server_error"}

    @pytest.mark.parametrize("mode", ["python wsgi.py", "flask run"])
    def test_a_request_that_waits_for_a_lock_delays_no_other(self, own_server, postgres, url, mode):
        server = own_server(mode, DATABASE_URL=url)
        player = server.user("Ann")
        with postgres.connect() as holder, ThreadPoolExecutor(1) as pool:
            with holder.transaction():
                holder.execute("SELECT 1 FROM board_versions FOR UPDATE")
                waiting = pool.submit(server.post, player.token, player.update(1))
                wait_until(lambda: is_waiting(postgres))

                assert server.top10() == []
                assert server.sign_in("Ann")["user_id"] == player.user_id
                assert not waiting.done()

            assert waiting.result(10).status_code == 200


def is_waiting(postgres):
    """Return whether a session of the database waits for a lock."""
    with postgres.connect() as database:
        found = database.execute("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        return found.fetchone() is not None


class TestMonitoring:
    """Every process shows the admins the attempts and audit lines of all processes."""

    @pytest.fixture
    def admin(self, servers):
        return servers[0].user("ann", "admin")

    @pytest.fixture
    def get(self, admin):
        def get(server, path):
            url = f"{server.url}/api/admin/{path}"
            return requests.get(url, headers=admin.bearer, timeout=10).json()

        return get

    @pytest.fixture
    def accepted(self, get):
        """Return a function that returns the number of accepted updates that a process shows."""

        def accepted(server):
            return sum(each["accepted"] for each in get(server, "overview?hours=24")["minutes"])

        return accepted

    def test_updates_appear_whichever_process_answers(self, servers, scorer, get, accepted):
        for number, server in enumerate(servers):
            server.post(scorer.token, new_update([scorer.user_id], number))

        def values(server):
            lines = get(server, "audit")["lines"]
            return sorted(line["score_value"] for line in lines if "score_value" in line)

        wait_until(lambda: all(values(server) == [0, 1, 2] for server in servers))
        wait_until(lambda: all(accepted(server) == PROCESSES for server in servers))
        wait_until(lambda: len(get(servers[0], "overview")["processes"]) == PROCESSES)

    def test_a_restart_loses_no_count(self, servers, scorer, accepted):
        for number in range(50):
            servers[1].post(scorer.token, new_update([scorer.user_id], number))
        servers[1].stop()
        servers[1].start()

        wait_until(lambda: [accepted(server) for server in servers] == [50] * PROCESSES)

    def test_without_redis_a_process_shows_its_own(self, servers, scorer, redis, get, accepted):
        redis.stop()
        for number in range(2):
            servers[number].post(scorer.token, new_update([scorer.user_id], number))

        assert [accepted(server) for server in servers] == [1, 1, 0]
        shown = [get(servers[1], path) for path in ("overview", "audit")]
        assert [each["redis"] for each in shown] == ["failing", "failing"]
