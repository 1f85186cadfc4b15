"""Liveness, readiness and metrics."""

import logging
import os
import socket

import pytest
import redis
import requests

from scoreboard.realtime.websocket.connection import MAX_BACKLOG_BYTES, WebSocket
from scoreboard.services import services
from tests.support import databases
from tests.support.backing_services import RedisServer
from tests.support.metrics import series
from tests.support.prerequisites import missing
from tests.support.servers import RUN_MODES, start_servers, stop_all
from tests.support.subscribers import SocketIoClient, WebSocketClient
from tests.support.waiting import wait_until

REDIS = os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379")
# Nothing listens on port 1: connections are refused.
NO_REDIS = "redis://127.0.0.1:1"
NO_DATABASE = "postgresql://nobody:hidden-password@127.0.0.1:1/nowhere"
TOKEN = "metrics-token-of-the-tests"
with_token = pytest.mark.parametrize("settings", [{"METRICS_TOKEN": TOKEN}])


@pytest.fixture
def counted(client):
    """Return a function that returns the current value of a series of the application."""
    return lambda *name: series(client.get("/metrics").text).get(name, 0)


@pytest.fixture
def without_database(make_app):
    return make_app(DATABASE_URL=NO_DATABASE).test_client()


@pytest.fixture
def hung_redis():
    """Return the URL of a Redis that accepts connections and never responds."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def running_redis():
    try:
        redis.Redis.from_url(REDIS, socket_connect_timeout=5).ping()
    except redis.RedisError as error:
        missing(f"no Redis at {REDIS}: {error}")
    return REDIS


def post(client, user, update):
    return client.post("/api/score/update", json=update, headers=user.bearer)


class TestHealth:
    def test_a_process_is_alive(self, client):
        response = client.get("/healthz")

        assert (response.status_code, response.json) == (200, {"status": "ok"})

    def test_a_process_without_its_database_is_alive(self, without_database):
        assert without_database.get("/healthz").status_code == 200

    def test_a_process_with_its_database_is_ready(self, client):
        response = client.get("/readyz")

        assert response.status_code == 200
        assert response.json == {
            "status": "ok",
            "checks": {"database": "ok", "redis": "not used", "last_broadcast": None},
        }

    def test_a_process_without_its_database_is_not_ready(
        self, without_database, monkeypatch, caplog
    ):
        monkeypatch.setattr(logging.getLogger("scoreboard"), "propagate", True)

        response = without_database.get("/readyz")

        assert response.status_code == 503
        assert response.json["status"] == response.json["checks"]["database"] == "failing"
        assert "OperationalError" in response.text + caplog.text
        assert "OperationalError" not in response.text
        assert "hidden" not in response.text + caplog.text

    def test_the_time_since_the_last_broadcast_is_reported(self, client, player, subscriber):
        post(client, player, player.update(7))

        assert client.get("/readyz").json["checks"]["last_broadcast"] >= 0

    @pytest.mark.parametrize(
        ("url", "state"),
        [("running_redis", "ok"), ("hung_redis", "failing"), (NO_REDIS, "failing")],
    )
    def test_redis_is_reported_but_not_required(self, make_app, request, url, state):
        if not url.startswith("redis:"):
            url = request.getfixturevalue(url)

        response = make_app(REDIS_URL=url).test_client().get("/readyz")

        assert response.status_code == 200
        assert response.json["status"] == "ok"
        assert response.json["checks"]["redis"] == state


class TestMetricsToken:
    def test_without_the_setting_metrics_are_public(self, client):
        response = client.get("/metrics")

        assert response.status_code == 200
        assert response.content_type == "text/plain; version=0.0.4; charset=utf-8"

    @with_token
    @pytest.mark.parametrize("path", ["/metrics", "/healthz", "/readyz"])
    def test_the_token_is_accepted(self, client, path):
        headers = {"Authorization": f"Bearer {TOKEN}"}

        assert client.get(path, headers=headers).status_code == 200

    @with_token
    @pytest.mark.parametrize("path", ["/healthz", "/readyz"])
    def test_health_remains_public(self, client, path):
        assert client.get(path).status_code == 200

    @with_token
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
    def test_other_tokens_are_refused(self, client, authorization, code):
        response = client.get("/metrics", headers={"Authorization": authorization})

        assert response.status_code == 401
        assert response.json["error"].keys() == {"code", "message"}
        assert response.json["error"]["code"] == code
        assert response.headers["WWW-Authenticate"] == "Bearer"

    @with_token
    def test_an_access_token_is_refused(self, client, make_user):
        assert client.get("/metrics", headers=make_user("admin").bearer).status_code == 401


class TestMetrics:
    def test_updates_are_counted_by_outcome(self, client, player, make_user, counted):
        for update in (player.update(7), player.update(7), player.update("seven")):
            post(client, player, update)
        post(client, player, make_user().update(7))

        codes = ("accepted", "replayed", "invalid_input", "not_permitted")
        assert [counted("scoreboard_updates_total", code) for code in codes] == [1, 1, 1, 1]
        assert counted("scoreboard_update_seconds_count") == 4

    def test_labels_contain_no_client_input(self, client, player):
        post(client, player, {**player.update("forged"), "nonce": "forged-7", "forged": "forged"})
        client.post("/api/score/update", json={}, headers={"Authorization": "Bearer forged"})
        client.get("/forged?token=forged", headers={"X-Request-ID": "forged-forged"})

        assert "forged" not in client.get("/metrics").text

    def test_each_message_counts_once_per_subscriber(self, client, player, subscriber, counted):
        post(client, player, player.update(7))

        assert len(subscriber.messages()) == 2
        assert counted("scoreboard_deliveries_total", "websocket") == 2
        assert counted("scoreboard_deliveries_total", "socket.io") == 0

    def test_push_latency_is_measured_for_accepted_updates_only(
        self, client, player, subscriber, counted
    ):
        post(client, player, player.update(7))
        post(client, player, player.update(7))

        assert counted("scoreboard_post_to_push_seconds_count") == 1

    def test_a_slow_subscriber_is_counted_once(self, counted):
        server, client = socket.socketpair()
        with server, client:
            server.settimeout(10)
            slow = WebSocket(server, max_message_size=100)
            slow.on_slow = services().metrics.slow_clients.inc

            slow.push(bytes(MAX_BACKLOG_BYTES + 1))
            slow.push(bytes(MAX_BACKLOG_BYTES + 1))

        assert counted("scoreboard_slow_clients_total") == 1

    def test_database_failures_are_counted(self, without_database):
        response = without_database.get("/api/score/top10")

        assert response.status_code == 500
        counts = series(without_database.get("/metrics").text)
        assert counts["scoreboard_database_errors_total",] == 1

    def test_constraint_violations_are_not_database_failures(self, client, counted):
        body = {"username": "ann", "email": "ann@example.com", "password": "correct horse"}

        statuses = [client.post("/api/auth/register", json=body).status_code for _ in range(2)]

        assert statuses == [201, 409]
        assert counted("scoreboard_database_errors_total") == 0

    def test_redis_failures_are_counted(self, make_app):
        client = make_app(REDIS_URL=NO_REDIS).test_client()

        client.get("/readyz")

        assert series(client.get("/metrics").text)["scoreboard_redis_errors_total",] == 1


def read(server, *name):
    return series(requests.get(f"{server.url}/metrics", timeout=10).text).get(name, 0)


# One process: each process has its own counts.
@pytest.mark.parametrize("server", RUN_MODES, indirect=True)
def test_metrics_and_health_of_a_real_server(server, users, closing):
    viewers = {
        "websocket": closing(WebSocketClient(server.url, users["viewer"].token)),
        "socket.io": closing(SocketIoClient(server.url, users["viewer"].token)),
    }
    for viewer in viewers.values():
        viewer.wait_for_count(1)
    player = users["player"]

    for value in range(5):
        server.post(player.token, player.update(value))

    assert read(server, "scoreboard_updates_total", "accepted") == 5
    assert read(server, "scoreboard_update_seconds_count") == 5
    wait_until(lambda: read(server, "scoreboard_post_to_push_seconds_count") > 0)
    for kind, viewer in viewers.items():
        assert read(server, "scoreboard_connections", kind) == 1
        # The first top 10 is not a broadcast; everything after it is.
        viewer.wait_for_count(11)
        assert read(server, "scoreboard_deliveries_total", kind) == 10
    wait_until(lambda: read(server, "scoreboard_loop_lag_seconds_count") > 0)
    assert requests.get(f"{server.url}/healthz", timeout=10).ok
    assert requests.get(f"{server.url}/readyz", timeout=10).json()["status"] == "ok"

    for kind, viewer in viewers.items():
        viewer.close()
        wait_until(lambda kind=kind: read(server, "scoreboard_connections", kind) == 0)


@pytest.fixture
def two_processes(tmp_path):
    own_redis = RedisServer(tmp_path)
    servers = start_servers(
        tmp_path, 2, DATABASE_URL=databases.new_database(), REDIS_URL=own_redis.url
    )
    yield servers
    stop_all(servers)
    own_redis.stop()


def test_push_latency_is_measured_in_the_process_that_received_the_update(two_processes, closing):
    first, second = two_processes
    player = first.user("ann")
    viewers = [closing(WebSocketClient(server.url, player.token)) for server in two_processes]
    for viewer in viewers:
        viewer.wait_for_count(1)

    for value in range(5):
        first.post(player.token, player.update(value))

    for viewer in viewers:
        viewer.wait_for_count(11)
    wait_until(lambda: read(first, "scoreboard_post_to_push_seconds_count") == 5)
    assert read(second, "scoreboard_post_to_push_seconds_count") == 0
