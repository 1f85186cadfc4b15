"""Health and metrics: what platforms and Prometheus are told."""

import logging
import os
import socket

import pytest
import redis
import requests

from scoreboard.leaderboard.top10 import Batch
from scoreboard.observability.metrics import Metrics
from scoreboard.realtime.backplane import RedisBackplane
from scoreboard.realtime.feed import Feed
from scoreboard.realtime.websocket.connection import MAX_BACKLOG_BYTES, WebSocket
from scoreboard.services import services
from tests.support.metrics import series
from tests.support.prerequisites import missing
from tests.support.servers import RUN_MODES
from tests.support.subscribers import PlainViewer, SocketIoViewer
from tests.support.waiting import wait_until

REDIS = os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379")
# Nobody listens on port 1: what is there refuses at once.
NO_REDIS = "redis://127.0.0.1:1"
NO_DATABASE = "postgresql://nobody:hidden-password@127.0.0.1:1/nowhere"
TOKEN = "metrics-token-of-the-tests"


@pytest.fixture
def counted(client):
    """Return a function that returns the current value of a series of the application."""
    return lambda *name: series(client.get("/metrics").text).get(name, 0)


@pytest.fixture
def without_database(make_app):
    return make_app(DATABASE_URL=NO_DATABASE).test_client()


@pytest.fixture
def hung():
    """Return the address of a Redis that takes connections and then says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}"


def post(client, person, update):
    return client.post("/api/score/update", json=update, headers=person.bearer)


class TestHealth:
    def test_a_process_that_answers_is_alive(self, client):
        answer = client.get("/healthz")

        assert (answer.status_code, answer.json) == (200, {"status": "ok"})

    def test_it_is_alive_without_its_database(self, without_database):
        assert without_database.get("/healthz").status_code == 200


class TestReadiness:
    def test_it_is_ready_with_its_database(self, client):
        answer = client.get("/readyz")

        assert answer.status_code == 200
        assert answer.json == {
            "status": "ok",
            "checks": {"database": "ok", "redis": "not used", "last_broadcast": None},
        }

    def test_it_is_not_ready_without(self, without_database):
        answer = without_database.get("/readyz")

        assert answer.status_code == 503
        assert answer.json["status"] == "failing"
        assert answer.json["checks"]["database"] == "failing"

    def test_why_it_is_not_ready_is_for_nobody_outside(self, app, client, monkeypatch, caplog):
        def fail(*arguments, **options):
            raise RuntimeError("the hidden password")

        monkeypatch.setattr("scoreboard.db.transactions.Database.run", fail)
        # As if the last write was long ago, or its outcome would be the answer.
        monkeypatch.setattr(services(app).database, "_wrote_at", float("-inf"))
        # Our lines go to their own handlers and no further; here they go to this one as well.
        monkeypatch.setattr(logging.getLogger("scoreboard"), "propagate", True)

        answer = client.get("/readyz")

        assert answer.json["checks"]["database"] == "failing"
        assert "RuntimeError" in caplog.text
        assert "hidden" not in answer.text + caplog.text

    def test_it_tells_how_long_ago_it_last_sent_anything(self, client, player, watcher):
        post(client, player, player.update(7))

        assert client.get("/readyz").json["checks"]["last_broadcast"] >= 0

    def test_a_redis_that_answers_is_ok(self, make_app):
        try:
            redis.Redis.from_url(REDIS, socket_connect_timeout=5).ping()
        except redis.RedisError as error:
            missing(f"no Redis at {REDIS}: {error}")

        answer = make_app(REDIS_URL=REDIS).test_client().get("/readyz")

        assert answer.json["checks"]["redis"] == "ok"

    def test_without_its_redis_it_is_still_ready(self, make_app):
        answer = make_app(REDIS_URL=NO_REDIS).test_client().get("/readyz")

        assert answer.status_code == 200
        assert answer.json["status"] == "ok"
        assert answer.json["checks"]["redis"] == "failing"

    def test_a_redis_that_hangs_is_failing(self, make_app, hung):
        answer = make_app(REDIS_URL=hung).test_client().get("/readyz")

        assert answer.json["checks"]["redis"] == "failing"


class TestTheGuard:
    def test_without_a_token_set_anyone_may_read_the_metrics(self, client):
        answer = client.get("/metrics")

        assert answer.status_code == 200
        assert answer.content_type == "text/plain; version=0.0.4; charset=utf-8"

    @pytest.mark.parametrize("settings", [{"METRICS_TOKEN": TOKEN}])
    def test_with_one_set_its_holder_may(self, client):
        answer = client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})

        assert answer.status_code == 200

    @pytest.mark.parametrize("settings", [{"METRICS_TOKEN": TOKEN}])
    @pytest.mark.parametrize(
        ("authorization", "code"),
        [
            (None, "token_missing"),
            (f"Basic {TOKEN}", "token_missing"),
            ("Bearer", "token_invalid"),
            ("Bearer another", "token_invalid"),
            (f"Bearer {TOKEN[:-1]}", "token_invalid"),
            ("Bearer schlüssel", "token_invalid"),
        ],
    )
    def test_nobody_else_may(self, client, authorization, code):
        answer = client.get("/metrics", headers={"Authorization": authorization})

        assert answer.status_code == 401
        assert answer.json["error"].keys() == {"code", "message"}
        assert answer.json["error"]["code"] == code
        assert answer.headers["WWW-Authenticate"] == "Bearer"

    @pytest.mark.parametrize("settings", [{"METRICS_TOKEN": TOKEN}])
    def test_a_token_of_ours_does_not_open_them(self, client, make_user):
        answer = client.get("/metrics", headers=make_user("admin").bearer)

        assert answer.status_code == 401

    @pytest.mark.parametrize("settings", [{"METRICS_TOKEN": TOKEN}])
    @pytest.mark.parametrize("path", ["/healthz", "/readyz"])
    def test_health_is_public_all_the_same(self, client, path):
        assert client.get(path).status_code == 200


class TestTheMetrics:
    def test_updates_are_counted_by_how_they_ended(self, client, player, make_user, counted):
        post(client, player, player.update(7))
        post(client, player, player.update(7))
        post(client, player, player.update("seven"))
        post(client, player, make_user().update(7))

        codes = ("accepted", "replayed", "invalid_input", "not_permitted")
        assert [counted("scoreboard_updates_total", code) for code in codes] == [1, 1, 1, 1]
        assert counted("scoreboard_update_seconds_count") == 4

    def test_no_label_is_what_a_client_sent(self, client, player):
        post(client, player, {**player.update("forged"), "nonce": "forged-7", "forged": "forged"})
        client.post("/api/score/update", json={}, headers={"Authorization": "Bearer forged"})
        client.get("/forged?token=forged", headers={"X-Request-ID": "forged-forged"})

        assert "forged" not in client.get("/metrics").text

    def test_every_message_counts_once_for_each_viewer(self, client, player, watcher, counted):
        post(client, player, player.update(7))

        assert len(watcher.messages()) == 2
        assert counted("scoreboard_deliveries_total", "websocket") == 2
        assert counted("scoreboard_deliveries_total", "socket.io") == 0

    def test_what_was_pushed_is_measured_and_what_was_refused_is_not(
        self, client, player, watcher, counted
    ):
        post(client, player, player.update(7))
        post(client, player, player.update(7))

        assert counted("scoreboard_post_to_push_seconds_count") == 1

    def test_an_update_that_had_to_wait_for_another_process_is_measured_too(self):
        delivered = []
        committed = iter([Batch(1, [], {}), Batch(3, [], {})])
        feed = Feed(lambda version: next(committed), delivered.append)
        feed.catch_up()
        feed.offer(Batch(3, [], {}, received=[12.5]))

        feed.catch_up()

        assert [batch.received for batch in delivered] == [[], [12.5]]

    def test_other_processes_are_not_told_the_time_of_this_one(self, monkeypatch):
        told = []
        monkeypatch.setattr(RedisBackplane, "_publish", lambda self, data: told.append(data))

        RedisBackplane(NO_REDIS, print, print, Metrics()).share(Batch(1, [], {}, received=[12.5]))

        assert "12.5" not in str(told)
        assert Batch(**told[0]["data"][0]).received == []

    def test_a_client_closed_for_being_slow_is_counted_once(self, counted):
        server, client = socket.socketpair()
        with server, client:
            server.settimeout(10)
            opened = WebSocket(server, max_message_size=100)
            opened.on_slow = services().metrics.slow_clients.inc

            opened.push(bytes(MAX_BACKLOG_BYTES + 1))
            opened.push(bytes(MAX_BACKLOG_BYTES + 1))

        assert counted("scoreboard_slow_clients_total") == 1

    def test_what_the_database_fails_is_counted(self, without_database):
        answer = without_database.get("/api/score/top10")

        assert answer.status_code == 500
        counts = series(without_database.get("/metrics").text)
        assert counts["scoreboard_database_errors_total",] == 1

    def test_what_the_database_answers_is_not(self, client, counted):
        body = {"username": "ann", "email": "ann@example.com", "password": "correct horse"}
        client.post("/api/auth/register", json=body)

        answer = client.post("/api/auth/register", json=body)

        assert answer.status_code == 409
        assert counted("scoreboard_database_errors_total") == 0

    def test_what_redis_fails_is_counted(self, make_app):
        client = make_app(REDIS_URL=NO_REDIS).test_client()

        client.get("/readyz")

        assert series(client.get("/metrics").text)["scoreboard_redis_errors_total",] == 1


# In one process: what it counts is its own.
@pytest.mark.parametrize("server", RUN_MODES, indirect=True)
class TestARealServer:
    def read(self, server, *name):
        text = requests.get(f"{server.url}/metrics", timeout=10).text
        return series(text).get(name, 0)

    def test_the_metrics_move_with_what_happens(self, server, people, watching):
        plain = watching(PlainViewer(server.url, people["viewer"].token))
        socket_io = watching(SocketIoViewer(server.url, people["viewer"].token))
        for viewer in (plain, socket_io):
            viewer.wait_for_count(1)
        player = people["player"]

        for value in range(5):
            server.post(player.token, player.update(value))

        assert self.read(server, "scoreboard_updates_total", "accepted") == 5
        assert self.read(server, "scoreboard_update_seconds_count") == 5
        wait_until(lambda: self.read(server, "scoreboard_post_to_push_seconds_count") > 0)
        for kind, viewer in (("websocket", plain), ("socket.io", socket_io)):
            assert self.read(server, "scoreboard_connections", kind) == 1
            # The board at first is not a broadcast; everything after it is.
            viewer.wait_for_count(11)
            assert self.read(server, "scoreboard_deliveries_total", kind) == 10
        wait_until(lambda: self.read(server, "scoreboard_loop_lag_seconds_count") > 0)

        plain.close()
        socket_io.close()

        for kind in ("websocket", "socket.io"):
            wait_until(lambda kind=kind: self.read(server, "scoreboard_connections", kind) == 0)

    def test_it_is_alive_and_ready(self, server):
        assert requests.get(f"{server.url}/healthz", timeout=10).ok
        assert requests.get(f"{server.url}/readyz", timeout=10).json()["status"] == "ok"
