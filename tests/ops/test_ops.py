"""Liveness, readiness and metrics."""

import logging
import socket

import pytest
import requests

from scoreboard.realtime.websocket.connection import MAX_BACKLOG_BYTES, WebSocket
from scoreboard.services import services
from tests.support import databases
from tests.support.backing_services import RedisServer
from tests.support.metrics import series
from tests.support.servers import RUN_MODES, start_servers, stop_all
from tests.support.subscribers import SocketIoClient, WebSocketClient
from tests.support.waiting import wait_until

# Nothing listens on port 1: connections are refused.
NO_REDIS = "redis://127.0.0.1:1"
NO_DATABASE = "postgresql://nobody:hidden-password@127.0.0.1:1/nowhere"
TOKEN = "metrics-token-of-the-tests"
with_token = pytest.mark.parametrize("settings", [{"METRICS_TOKEN": TOKEN}])


@pytest.fixture
def metric(client):
    """Return a function that returns the current value of a metric with these labels."""
    return lambda *name: series(client.get("/metrics").text).get(name, 0)


@pytest.fixture
def without_database(make_app):
    return make_app(DATABASE_URL=NO_DATABASE).test_client()


@pytest.fixture
def unresponsive_port():
    """Return a port that accepts connections and never responds."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def post(client, user, update):
    return client.post("/api/score/update", json=update, headers=user.bearer)


class TestHealth:
    def test_a_process_is_alive(self, client):
        response = client.get("/healthz")

        assert (response.status_code, response.json) == (200, {"status": "ok"})

    def test_a_process_with_its_database_is_ready(self, client):
        response = client.get("/readyz")

        assert response.status_code == 200
        assert response.json == {
            "status": "ok",
            "checks": {"database": "ok", "redis": "not used", "last_broadcast": None},
        }

    def test_a_process_without_its_database_is_alive_but_not_ready(
        self, without_database, monkeypatch, caplog
    ):
        monkeypatch.setattr(logging.getLogger("scoreboard"), "propagate", True)

        response = without_database.get("/readyz")

        assert response.status_code == 503
        assert response.json["status"] == response.json["checks"]["database"] == "failing"
        assert "OperationalError" in caplog.text
        assert "OperationalError" not in response.text
        assert "hidden" not in response.text + caplog.text
        assert without_database.get("/healthz").status_code == 200

    def test_the_time_since_the_last_broadcast_is_reported(self, client, player, subscriber):
        post(client, player, player.update(7))

        assert client.get("/readyz").json["checks"]["last_broadcast"] >= 0

    @pytest.mark.parametrize("responds", [True, False], ids=["unresponsive", "stopped"])
    def test_redis_is_reported_but_not_required(self, make_app, unresponsive_port, responds):
        url = f"redis://127.0.0.1:{unresponsive_port}" if responds else NO_REDIS

        response = make_app(REDIS_URL=url).test_client().get("/readyz")

        assert response.status_code == 200
        assert response.json["status"] == "ok"
        assert response.json["checks"]["redis"] == "failing"


class TestMetricsToken:
    @pytest.mark.parametrize(
        "settings", [{}, {"HOST": "::1"}, {"PORT": "5000", "METRICS_PUBLIC": "1"}], ids=str
    )
    def test_metrics_of_a_local_or_opened_server_need_no_token(self, client, settings):
        response = client.get("/metrics")

        assert response.status_code == 200
        assert response.content_type == "text/plain; version=0.0.4; charset=utf-8"

    @pytest.mark.parametrize(
        "settings", [{"PORT": "5000"}, {"HOST": "0.0.0.0"}, {"TRUSTED_PROXIES": "1"}], ids=str
    )
    def test_metrics_of_a_public_server_are_closed(self, client, settings):
        response = client.get("/metrics")

        assert (response.status_code, response.json["error"]["code"]) == (403, "metrics_closed")
        assert "METRICS_TOKEN" in response.json["error"]["message"]

    @pytest.mark.parametrize("settings", [{"METRICS_TOKEN": TOKEN, "METRICS_PUBLIC": "1"}])
    def test_a_token_is_required_even_if_metrics_are_public(self, client, settings):
        assert client.get("/metrics").status_code == 401

    @with_token
    @pytest.mark.parametrize("path", ["/metrics", "/healthz", "/readyz"])
    def test_the_token_is_accepted_and_health_remains_public(self, client, path):
        headers = {"Authorization": f"Bearer {TOKEN}"}

        assert client.get(path, headers=headers).status_code == 200
        assert client.get(path).status_code == (401 if path == "/metrics" else 200)

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
    def test_updates_are_counted_by_outcome(self, client, player, make_user, metric):
        for update in (player.update(7), player.update(7), player.update("seven")):
            post(client, player, update)
        post(client, player, make_user().update(7))

        codes = ("accepted", "replayed", "invalid_input", "not_permitted")
        assert [metric("scoreboard_updates_total", code) for code in codes] == [1, 1, 1, 1]
        assert metric("scoreboard_update_seconds_count") == 4

    def test_labels_contain_no_client_input(self, client, player):
        post(client, player, {**player.update("forged"), "nonce": "forged-7", "forged": "forged"})
        client.post("/api/score/update", json={}, headers={"Authorization": "Bearer forged"})
        client.get("/forged?token=forged", headers={"X-Request-ID": "forged-forged"})

        assert "forged" not in client.get("/metrics").text

    def test_only_accepted_updates_count_as_deliveries(self, client, player, subscriber, metric):
        post(client, player, player.update(7))
        post(client, player, player.update(7))

        assert len(subscriber.messages()) == 2
        assert metric("scoreboard_deliveries_total", "websocket") == 2
        assert metric("scoreboard_deliveries_total", "socket.io") == 0
        assert metric("scoreboard_post_to_push_seconds_count") == 1

    def test_a_slow_subscriber_is_counted_once(self, metric):
        server, client = socket.socketpair()
        with server, client:
            server.settimeout(10)
            slow = WebSocket(server, max_message_size=100)
            slow.on_slow = services().metrics.slow_clients.inc

            slow.push(bytes(MAX_BACKLOG_BYTES + 1))
            slow.push(bytes(MAX_BACKLOG_BYTES + 1))

        assert metric("scoreboard_slow_clients_total") == 1

    def test_database_failures_are_counted(self, without_database):
        response = without_database.get("/api/score/top10")

        assert response.status_code == 500
        metrics = series(without_database.get("/metrics").text)
        assert metrics["scoreboard_database_errors_total",] == 1

    def test_constraint_violations_are_not_database_failures(self, client, metric):
        body = {"username": "ann", "email": "ann@example.com", "password": "correct horse"}

        statuses = [client.post("/api/auth/register", json=body).status_code for _ in range(2)]

        assert statuses == [201, 409]
        assert metric("scoreboard_database_errors_total") == 0

    def test_redis_failures_are_counted(self, make_app):
        client = make_app(REDIS_URL=NO_REDIS).test_client()

        client.get("/readyz")

        assert series(client.get("/metrics").text)["scoreboard_redis_errors_total",] == 1


def read_metric(server, *name):
    return series(requests.get(f"{server.url}/metrics", timeout=10).text).get(name, 0)


def read_checks(server):
    return requests.get(f"{server.url}/readyz", timeout=10).json()["checks"]


# The metrics of several processes are separate.
@pytest.mark.parametrize("server", RUN_MODES, indirect=True)
def test_metrics_and_health_of_a_real_server(server, users, closing):
    subscribers = {
        "websocket": closing(WebSocketClient(server.url, users["viewer"].token)),
        "socket.io": closing(SocketIoClient(server.url, users["viewer"].token)),
    }
    for subscriber in subscribers.values():
        subscriber.wait_for_count(1)
    player = users["player"]

    for value in range(5):
        server.post(player.token, player.update(value))

    assert read_metric(server, "scoreboard_updates_total", "accepted") == 5
    assert read_metric(server, "scoreboard_update_seconds_count") == 5
    wait_until(lambda: read_metric(server, "scoreboard_post_to_push_seconds_count") > 0)
    for protocol, subscriber in subscribers.items():
        assert read_metric(server, "scoreboard_connections", protocol) == 1
        subscriber.wait_for_count(11)
        # The initial top 10 is not a broadcast.
        assert read_metric(server, "scoreboard_deliveries_total", protocol) == 10
    wait_until(lambda: read_metric(server, "scoreboard_loop_lag_seconds_count") > 0)
    assert read_checks(server)["database"] == "ok"

    for protocol, subscriber in subscribers.items():
        subscriber.close()
        name = ("scoreboard_connections", protocol)
        wait_until(lambda name=name: read_metric(server, *name) == 0)


@pytest.fixture
def two_processes(tmp_path):
    redis = RedisServer(tmp_path)
    servers = start_servers(tmp_path, 2, DATABASE_URL=databases.new_database(), REDIS_URL=redis.url)
    yield servers
    stop_all(servers)
    redis.stop()


def test_push_latency_is_measured_in_the_process_that_received_the_update(two_processes, closing):
    first, second = two_processes
    player = first.user("ann")
    subscribers = [closing(WebSocketClient(server.url, player.token)) for server in two_processes]
    for subscriber in subscribers:
        subscriber.wait_for_count(1)

    for value in range(5):
        first.post(player.token, player.update(value))

    for subscriber in subscribers:
        subscriber.wait_for_count(11)
    wait_until(lambda: read_metric(first, "scoreboard_post_to_push_seconds_count") == 5)
    assert read_metric(second, "scoreboard_post_to_push_seconds_count") == 0
    assert read_checks(first)["redis"] == "ok"
