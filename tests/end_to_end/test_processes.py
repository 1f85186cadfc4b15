"""Several processes on Postgres and Redis are one scoreboard."""

import itertools
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

NUMBERS = itertools.count()
PROCESSES = 3
RESULTS = 1_000  # one process has three times as many, in `test_real_results.py`
OUTAGE = 6  # in seconds


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
    return servers[0].user(f"scorer-{next(NUMBERS)}", "scorer")


@pytest.fixture
def viewers(servers, scorer, closing):
    """Return viewers of both kinds in every process, which have got the first board."""
    kinds = (WebSocketClient, SocketIoClient)
    made = [closing(kind(server.url, scorer.token)) for server in servers for kind in kinds]
    for viewer in made:
        viewer.wait_for_count(1)
    return made


def scores(viewer):
    return [m["data"] for m in viewer.messages() if m["type"] == "score_update"]


def board(viewer):
    boards = [m["data"]["top_10_scores"] for m in viewer.messages() if m["type"] == "top_10_update"]
    return boards[-1]


def update_of(user_ids, number):
    """Return a new update of one of these users."""
    now = datetime.now(UTC).isoformat()
    return SignedInUser(user_ids[number % len(user_ids)], "").update(
        number, now, nonce=uuid.uuid4().hex
    )


def wait_for_scores(servers, viewers, count, seconds):
    """Wait until every viewer has so many updates, in one order, and the current board."""
    for viewer in viewers:
        viewer.wait_for(lambda _, viewer=viewer: len(scores(viewer)) >= count, seconds)
    assert all(scores(viewer) == scores(viewers[0]) for viewer in viewers)
    assert len(scores(viewers[0])) == count
    wait_until(lambda: all(board(viewer) == servers[0].top10() for viewer in viewers), seconds)


def test_every_real_result_reaches_the_viewers_of_every_process(servers, scorer, viewers):
    expected = replay(servers, scorer, matches()[-RESULTS:])

    for viewer in viewers:
        viewer.wait_for_count(len(expected.messages), seconds=30)
        assert viewer.messages() == expected.messages
    assert all(server.top10() == expected.top10() for server in servers)


class TestOnTheSameProcesses:
    """Tests that share their processes."""

    @pytest.fixture(scope="class")
    @classmethod
    def servers(cls, tmp_path_factory):
        folder = tmp_path_factory.mktemp("servers")
        redis = RedisServer(folder)
        started = start_servers(
            folder, PROCESSES, DATABASE_URL=databases.new_database(), REDIS_URL=redis.url
        )
        yield started
        stop_all(started)
        redis.stop()

    def test_updates_to_all_processes_at_once_have_one_order(self, servers, scorer, viewers):
        user_ids = seed(servers[0], 15)

        def post(number):
            server = servers[number % PROCESSES]
            return server.post(scorer.token, update_of(user_ids, number)).status_code

        with ThreadPoolExecutor(24) as pool:
            assert set(pool.map(post, range(600))) == {200}

        wait_for_scores(servers, viewers, 600, seconds=30)

    def test_signing_out_closes_the_connections_in_every_process(self, servers, closing):
        servers[0].user("Ann")
        token = servers[0].sign_in("Ann")["access_token"]
        viewers = [closing(WebSocketClient(server.url, token)) for server in servers]

        headers = {"Authorization": f"Bearer {token}"}
        requests.post(f"{servers[1].url}/api/auth/logout", headers=headers, timeout=10)

        assert all(viewer.ended.wait(10) for viewer in viewers)
        assert {viewer.code for viewer in viewers} == {4401}


def test_a_rate_limit_counts_the_updates_of_all_processes(own_server, redis):
    settings = {"DATABASE_URL": databases.new_database(), "REDIS_URL": redis.url}
    servers = [own_server(SCORE_RATE_LIMIT="3/day", **settings) for _ in range(2)]
    player = servers[0].user("Ann")

    answers = [servers[n % 2].post(player.token, player.update(n)).status_code for n in range(4)]

    assert answers == [200, 200, 200, 429]


def test_a_change_by_the_command_line_reaches_every_viewer(servers, viewers):
    servers[0].flask("users", "seed", "3", "--scores")

    for viewer in viewers:
        viewer.wait_for_count(2)
        assert board(viewer) == servers[0].top10()


class TestRedisAway:
    """The database is the truth; Redis only makes updates faster."""

    @pytest.mark.parametrize(
        ("fail", "recover"),
        [
            (RedisServer.stop, RedisServer.start),
            (lambda redis: redis.pause(OUTAGE), None),
            (lambda redis: redis.client.config_set("maxmemory", "1"), None),
        ],
        ids=["stopped", "paused", "full"],
    )
    def test_every_update_reaches_every_viewer_in_one_order(
        self, servers, scorer, viewers, redis, fail, recover
    ):
        user_ids, over = seed(servers[0], 15), threading.Event()

        def post_until_over():
            number = 0
            while not over.wait(0.01):
                update = update_of(user_ids, number)
                assert servers[number % PROCESSES].post(scorer.token, update).status_code == 200
                number += 1
            return number

        with ThreadPoolExecutor(1) as pool:
            posting = pool.submit(post_until_over)
            fail(redis)
            over.wait(OUTAGE)
            if recover:
                recover(redis)
            over.wait(1)
            over.set()
            count = posting.result(60)

        wait_for_scores(servers, viewers, count, seconds=5)

    def test_new_viewers_and_updates_are_accepted(self, servers, scorer, redis, closing):
        redis.stop()

        viewer = closing(WebSocketClient(servers[1].url, scorer.token))
        viewer.wait_for_count(1)
        servers[0].post(scorer.token, scorer.update(1))

        assert viewer.wait_for_count(3, seconds=5)
        redis.start()


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
        answered = []
        some, restarted = threading.Event(), threading.Event()

        def post(number):
            """Post updates until one is accepted after the restart."""
            for _ in range(10_000):
                update = update_of(user_ids, number)
                answer = server.post(scorer.token, update)
                answered.append((answer.status_code, answer.json(), update))
                if len(answered) > 300:
                    some.set()
                if restarted.is_set() and answer.status_code == 200:
                    return True
            return False

        with ThreadPoolExecutor(200) as pool:
            posting = [pool.submit(post, number) for number in range(200)]
            assert some.wait(60)
            try:
                postgres.restart()
            finally:
                restarted.set()
            assert all(posted.result(120) for posted in posting)

        with postgres.connect() as database:
            rows = [row[0] for row in database.execute("SELECT identity FROM scores")]
        accepted = {update["nonce"] for status, _, update in answered if status == 200}
        errors = {body["error"]["code"] for status, body, _ in answered if status != 200}
        assert len(rows) == len(set(rows))
        assert accepted <= set(rows)
        assert errors == {"server_error"}

    @pytest.mark.parametrize("mode", ["python wsgi.py", "flask run"])
    def test_a_request_that_waits_for_a_lock_delays_no_other(self, own_server, postgres, url, mode):
        server = own_server(mode, DATABASE_URL=url)
        player = server.user("Ann")
        with postgres.connect() as holder, ThreadPoolExecutor(1) as pool:
            with holder.transaction():
                holder.execute("SELECT 1 FROM board_version FOR UPDATE")
                waiting = pool.submit(server.post, player.token, player.update(1))
                wait_until(lambda: is_waiting(postgres))

                assert server.top10() == []
                assert server.sign_in("Ann")["user_id"] == player.user_id
                assert not waiting.done()

            assert waiting.result(10).status_code == 200

    def test_an_update_that_waits_too_long_is_an_error(self, own_server, postgres, url):
        server = own_server(DATABASE_URL=url)
        player = server.user("Ann")
        with postgres.connect() as holder, holder.transaction():
            holder.execute("SELECT 1 FROM board_version FOR UPDATE")
            answer = server.post(player.token, player.update(1))

        assert (answer.status_code, answer.json()["error"]["code"]) == (500, "server_error")
        assert server.top10() == []
        assert server.post(player.token, player.update(1)).status_code == 200


def is_waiting(postgres):
    """Whether a session of the database waits for a lock."""
    with postgres.connect() as database:
        found = database.execute("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        return found.fetchone() is not None
