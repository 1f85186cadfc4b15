"""Several processes on Postgres and Redis are one scoreboard."""

import itertools
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import requests

from tests.support import databases
from tests.support.backing_services import OwnPostgres, OwnRedis
from tests.support.football import Expected, matches, points, seed
from tests.support.servers import Server, several, stop_all
from tests.support.subscribers import PlainViewer, SocketIoViewer
from tests.support.tokens import mint
from tests.support.waiting import wait_until

NUMBERS = itertools.count()
PROCESSES = 3
RESULTS = 1_000  # one process has three times as many, in `test_real_results.py`


@pytest.fixture
def redis(tmp_path):
    redis = OwnRedis(tmp_path)
    yield redis
    redis.stop()


@pytest.fixture
def servers(tmp_path, redis):
    started = several(
        tmp_path, PROCESSES, DATABASE_URL=databases.new_database(), REDIS_URL=redis.url
    )
    yield started
    stop_all(started)


@pytest.fixture
def scorer(servers):
    return servers[0].user(f"scorer-{next(NUMBERS)}", "scorer")


@pytest.fixture
def viewers(servers, scorer, watching):
    """Return viewers of both kinds in every process, each with the board at first."""
    made = [
        watching(kind(s.url, scorer.token))
        for s in servers
        for kind in (PlainViewer, SocketIoViewer)
    ]
    for viewer in made:
        viewer.wait_for_count(1)
    return made


def scores(viewer):
    return [m["data"] for m in viewer.messages() if m["type"] == "score_update"]


def board(viewer):
    boards = [m["data"]["top_10_scores"] for m in viewer.messages() if m["type"] == "top_10_update"]
    return boards[-1]


def test_every_real_result_reaches_the_viewers_of_every_process(servers, scorer, viewers):
    played = matches()[-RESULTS:]
    teams = sorted({team for match in played for team in points(match)})
    user_ids = dict(zip(teams, seed(servers[0], len(teams)), strict=True))
    expected = Expected()

    for number, match in enumerate(played):
        for team, gained in points(match).items():
            server = servers[len(expected.messages) % PROCESSES]
            total = expected.update(team, user_ids[team], gained)
            update = {"user_id": user_ids[team], "score_value": total, "timestamp": match["date"]}
            nonce = f"match-{number:06}"
            assert server.send(scorer.token, {**update, "nonce": nonce})[0] == 200

    for viewer in viewers:
        viewer.wait_for_count(len(expected.messages), seconds=30)
        assert viewer.messages() == expected.messages
    assert all(server.top10() == expected.top10() for server in servers)


def post_from_all_sides(servers, scorer, user_ids, count):
    """Send updates to all processes at once; return those that were answered 200."""

    def post(number):
        update = {
            "user_id": user_ids[number % len(user_ids)],
            "score_value": number,
            "timestamp": datetime.now(UTC).isoformat(),
            "nonce": uuid.uuid4().hex,
        }
        answer = servers[number % len(servers)].post(scorer.token, update)
        return update if answer.status_code == 200 else None

    with ThreadPoolExecutor(24) as pool:
        return [update for update in pool.map(post, range(count)) if update]


class TestOnTheSameProcesses:
    """What can be asked of the same processes one after the other."""

    @pytest.fixture(scope="class")
    @classmethod
    def servers(cls, tmp_path_factory):
        folder = tmp_path_factory.mktemp("servers")
        redis = OwnRedis(folder)
        started = several(
            folder, PROCESSES, DATABASE_URL=databases.new_database(), REDIS_URL=redis.url
        )
        yield started
        stop_all(started)
        redis.stop()

    def test_updates_to_all_processes_at_once_have_one_order(self, servers, scorer, viewers):
        user_ids = seed(servers[0], 15)

        accepted = post_from_all_sides(servers, scorer, user_ids, 600)

        assert len(accepted) == 600
        for viewer in viewers:
            viewer.wait_for(lambda _, viewer=viewer: len(scores(viewer)) >= 600, seconds=30)
        orders = [scores(viewer) for viewer in viewers]
        assert all(order == orders[0] for order in orders)
        assert len(orders[0]) == 600
        wait_until(lambda: all(board(viewer) == servers[0].top10() for viewer in viewers))

    def test_signing_out_closes_the_connections_in_every_process(self, servers, watching):
        servers[0].user("Ann")
        token = servers[0].sign_in("Ann")["access_token"]
        viewers = [watching(PlainViewer(server.url, token)) for server in servers]

        headers = {"Authorization": f"Bearer {token}"}
        requests.post(f"{servers[1].url}/api/auth/logout", headers=headers, timeout=10)

        assert all(viewer.ended.wait(10) for viewer in viewers)
        assert {viewer.code for viewer in viewers} == {4401}

    def test_a_token_minted_elsewhere_is_good_in_every_process(self, servers, scorer):
        token = mint(scorer.user_id, exp=datetime.now(UTC) + timedelta(minutes=1))

        for number, server in enumerate(servers):
            assert server.post(token, scorer.update(number)).status_code == 200


def test_a_limit_holds_for_all_processes_together(tmp_path, redis):
    settings = {"DATABASE_URL": databases.new_database(), "REDIS_URL": redis.url}
    servers = several(tmp_path, 2, SCORE_RATE_LIMIT="3/day", **settings)
    try:
        player = servers[0].user("Ann")

        answers = [
            servers[n % 2].post(player.token, player.update(n)).status_code for n in range(4)
        ]

        assert answers == [200, 200, 200, 429]
    finally:
        stop_all(servers)


def test_a_change_by_the_command_line_reaches_every_viewer(servers, viewers):
    servers[0].flask("users", "seed", "3", "--scores")

    for viewer in viewers:
        viewer.wait_for_count(2)
        assert board(viewer) == servers[0].top10()


class TestRedisAway:
    """The database is the truth, Redis only the messenger."""

    SECONDS = 6

    def play(self, servers, scorer, user_ids, until):
        """Post one update after the other to each process in turn until the event."""
        number = 0
        while not until.wait(0.01):
            number += 1
            update = {
                "user_id": user_ids[number % len(user_ids)],
                "score_value": number,
                "timestamp": datetime.now(UTC).isoformat(),
                "nonce": uuid.uuid4().hex,
            }
            assert servers[number % len(servers)].post(scorer.token, update).status_code == 200
        return number

    def outlive(self, servers, scorer, viewers, away, back):
        """Play while Redis goes away and comes back; every viewer must end up right."""
        user_ids = seed(servers[0], 15)
        over = threading.Event()
        with ThreadPoolExecutor(1) as pool:
            playing = pool.submit(self.play, servers, scorer, user_ids, over)
            away()
            over.wait(self.SECONDS)
            back()
            over.wait(1)
            over.set()
            count = playing.result(60)

        for viewer in viewers:
            viewer.wait_for(lambda _, viewer=viewer: len(scores(viewer)) >= count, seconds=5)
        assert all(scores(viewer) == scores(viewers[0]) for viewer in viewers)
        wait_until(lambda: all(board(v) == servers[0].top10() for v in viewers), seconds=5)

    def test_stopped_and_started_again(self, servers, scorer, viewers, redis):
        self.outlive(servers, scorer, viewers, away=redis.stop, back=redis.start)

    def test_paused(self, servers, scorer, viewers, redis):
        def pause():
            redis.pause(self.SECONDS)

        self.outlive(servers, scorer, viewers, away=pause, back=lambda: None)

    def test_full(self, servers, scorer, viewers, redis):
        def fill():
            redis.client.config_set("maxmemory", "1")

        self.outlive(servers, scorer, viewers, away=fill, back=lambda: None)

    def test_limits_still_hold_and_viewers_still_come(self, servers, scorer, redis, watching):
        redis.stop()

        viewer = watching(PlainViewer(servers[1].url, scorer.token))
        viewer.wait_for_count(1)
        servers[0].post(scorer.token, scorer.update(1))

        assert viewer.wait_for_count(3, seconds=5)
        redis.start()


class TestPostgresAway:
    @pytest.fixture
    def postgres(self, tmp_path_factory):
        postgres = OwnPostgres(tmp_path_factory.mktemp("postgres"))
        yield postgres
        postgres.stop()

    def test_a_restart_loses_nothing_and_needs_none_of_ours(self, tmp_path, postgres):
        server = Server(tmp_path, DATABASE_URL=databases.migrated(postgres.url))
        try:
            scorer = server.user("scorer", "scorer")
            user_ids = seed(server, 20)
            answered = []
            some, restarted = threading.Event(), threading.Event()

            def play(number):
                for turn in range(10_000):
                    update = {
                        "user_id": user_ids[number % 20],
                        "score_value": turn,
                        "timestamp": datetime.now(UTC).isoformat(),
                        "nonce": uuid.uuid4().hex,
                    }
                    answer = server.post(scorer.token, update)
                    answered.append((answer.status_code, answer.json(), update))
                    if len(answered) > 300:
                        some.set()
                    if restarted.is_set() and answer.status_code == 200:
                        return True
                return False

            with ThreadPoolExecutor(200) as pool:
                playing = [pool.submit(play, number) for number in range(200)]
                assert some.wait(60)
                try:
                    postgres.restart()
                finally:
                    restarted.set()
                assert all(played.result(120) for played in playing)

            with postgres.connect() as database:
                rows = [row[0] for row in database.execute("SELECT identity FROM scores")]
            accepted = {update["nonce"] for status, _, update in answered if status == 200}
            assert len(rows) == len(set(rows))
            assert accepted <= set(rows)
            errors = [body["error"]["code"] for status, body, _ in answered if status != 200]
            assert errors
            assert set(errors) == {"server_error"}
        finally:
            server.stop()

    @pytest.mark.parametrize("mode", ["python wsgi.py", "flask run"])
    def test_while_one_waits_for_postgres_the_others_are_answered(self, tmp_path, postgres, mode):
        server = Server(tmp_path, mode, DATABASE_URL=databases.migrated(postgres.url))
        try:
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
        finally:
            server.stop()

    def test_an_update_that_waits_too_long_is_an_honest_error(self, tmp_path, postgres, watching):
        server = Server(tmp_path, DATABASE_URL=databases.migrated(postgres.url))
        try:
            player = server.user("Ann")
            with postgres.connect() as holder, holder.transaction():
                holder.execute("SELECT 1 FROM board_version FOR UPDATE")
                answer = server.post(player.token, player.update(1))

            assert (answer.status_code, answer.json()["error"]["code"]) == (500, "server_error")
            assert server.top10() == []
            assert server.post(player.token, player.update(1)).status_code == 200
        finally:
            server.stop()


def is_waiting(postgres):
    """Whether some session waits for a lock."""
    with postgres.connect() as database:
        found = database.execute("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        return found.fetchone() is not None
