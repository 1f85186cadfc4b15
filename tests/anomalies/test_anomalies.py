"""An anomaly is logged, counted and flags its user; it never affects the request."""

import logging
from datetime import UTC, datetime, timedelta

import pytest
import requests
from sqlalchemy import select

from scoreboard.anomalies import flags
from scoreboard.anomalies.rules import Jump, Refusals, Regularity, UsersPerAddress
from scoreboard.db import transactions
from scoreboard.models import Flag
from scoreboard.services import services
from tests.support.api import submit
from tests.support.servers import RUN_MODES
from tests.support.waiting import wait_until

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
JUMP = (1, 2, 3, 4, 5, 1000)
HALF_HOUR = timedelta(minutes=30)


@pytest.fixture
def lines(audit_lines):
    """Return a function that returns the audit lines about anomalies so far."""
    return lambda: [line for line in audit_lines() if line["event"] == "unusual_activity"]


@pytest.fixture(autouse=True)
def synchronous(monkeypatch):
    """Run background work at once."""
    monkeypatch.setattr("scoreboard.concurrency.runtime.spawn", lambda work, *args: work(*args))


@pytest.fixture
def clock(app):
    """Return a list whose only item is the time that flags get."""
    times = [NOON]
    services(app).anomalies.now = lambda: times[0]
    return times


def count(app, rule):
    labels = {"rule": rule}
    registry = services(app).metrics.registry
    return registry.get_sample_value("scoreboard_unusual_activity_total", labels)


def post(client, user, values=JUMP):
    """Return the statuses of updates with these values."""
    return [submit(client, user, user.update(value)).status_code for value in values]


def stored_flags():
    columns = select(Flag.user_id, Flag.rule, Flag.hour, Flag.created_at, Flag.detail)
    statement = columns.order_by(Flag.user_id, Flag.created_at)
    return transactions.read(lambda connection: connection.execute(statement).all())


def test_an_anomaly_is_logged_counted_and_flags_its_user(app, client, player, lines, clock):
    clock[0] = NOON + timedelta(minutes=7)

    statuses = post(client, player)

    assert statuses == [200] * 6
    (line,) = lines()
    assert line.pop("time")
    assert len(line.pop("request_id")) == 32
    detail = "a step of 995, the largest so far was 1"
    assert line == {
        "event": "unusual_activity",
        "door": "http",
        "address": "127.0.0.1",
        "level": "warning",
        "rule": "jump",
        "user_id": player.user_id,
        "detail": detail,
    }
    assert count(app, "jump") == 1
    assert stored_flags() == [(player.user_id, "jump", NOON, clock[0], detail)]


def test_refusals_of_an_address_flag_no_user(app, client, player, lines):
    for _ in range(31):
        client.post("/api/score/update", json=player.update(1))

    assert [(line["rule"], line["user_id"]) for line in lines()] == [("refusals", None)]
    assert count(app, "refusals") == 1
    assert stored_flags() == []


@pytest.mark.parametrize("settings", [{"SCORE_POLICY": "total"}])
def test_under_total_a_step_is_the_value_added(client, player, lines):
    for day in range(1, 7):
        submit(client, player, player.update(101 if day == 6 else 5, f"2026-01-0{day}"))

    assert [line["rule"] for line in lines()] == ["jump"]


def test_a_user_gets_one_flag_per_rule_and_hour(client, make_user, clock, lines):
    ann, bob = make_user(), make_user()
    post(client, ann)
    clock[0] += HALF_HOUR
    post(client, ann, [100_000])
    post(client, bob)
    clock[0] += HALF_HOUR
    post(client, ann, [10_000_000])

    assert len(lines()) == 4
    assert len(stored_flags()) == 3
    assert {(flag.user_id, flag.created_at) for flag in stored_flags()} == {
        (ann.user_id, NOON),
        (bob.user_id, NOON + HALF_HOUR),
        (ann.user_id, NOON + 2 * HALF_HOUR),
    }


def test_of_several_processes_the_first_writes_the_flag(player):
    for detail, minutes in [("first", 0), ("second", 59), ("third", 60)]:
        flags.write(player.user_id, "jump", detail, NOON + timedelta(minutes=minutes))

    assert [flag.detail for flag in flags.newest()] == ["third", "first"]


def test_at_most_the_newest_100_flags_are_returned(player):
    for hour in range(103):
        flags.write(player.user_id, "jump", str(hour), NOON + timedelta(hours=hour))

    assert [flag.detail for flag in flags.newest()] == [str(n) for n in range(102, 2, -1)]


class FailingRule:
    def find(self, attempt):
        raise RuntimeError("a rule that fails")


def test_a_failing_rule_is_logged_and_affects_nothing_else(app, client, player, caplog):
    logging.getLogger("scoreboard").addHandler(caplog.handler)
    services(app).anomalies.rules.insert(0, FailingRule())

    statuses = post(client, player)

    logging.getLogger("scoreboard").removeHandler(caplog.handler)
    assert statuses == [200] * 6
    assert "an anomaly rule failed" in caplog.text
    assert count(app, "jump") == 1


def test_a_flag_that_cannot_be_written_affects_no_request(client, player, monkeypatch):
    monkeypatch.setattr("scoreboard.concurrency.runtime.spawn", lambda *work: 1 / 0)

    assert post(client, player) == [200] * 6


# In one process, because each counts its own attempts.
@pytest.mark.parametrize("server", RUN_MODES, indirect=True)
def test_a_real_server_writes_flags_in_the_background(server):
    player, admin = server.user("Ann"), server.user("The-admin", "admin")
    for score in JUMP:
        server.post(player.token, player.update(score))

    def flagged():
        url = f"{server.url}/api/admin/marks?user_id={player.user_id}"
        response = requests.get(url, headers=admin.bearer, timeout=10)
        return [(flag["username"], flag["rule"]) for flag in response.json()["marks"]]

    wait_until(flagged)
    assert flagged() == [("Ann", "jump")]
    assert '"event": "unusual_activity"' in server.log()


@pytest.mark.parametrize(
    ("settings", "disabled"),
    [
        ({"ACTIVITY_JUMP": "0"}, Jump),
        ({"ACTIVITY_REFUSALS": "0"}, Refusals),
        ({"ACTIVITY_USERS_PER_ADDRESS": "0"}, UsersPerAddress),
        ({"ACTIVITY_REGULARITY": "0"}, Regularity),
    ],
    ids=str,
)
def test_0_disables_a_rule(app, disabled):
    enabled = {type(rule) for rule in services(app).anomalies.rules}

    assert enabled == {Jump, Refusals, UsersPerAddress, Regularity} - {disabled}


@pytest.mark.parametrize("settings", [{"ACTIVITY_REFUSALS": "1"}])
def test_a_setting_changes_the_limit_of_a_rule(client, player, lines):
    for _ in range(2):
        client.post("/api/score/update", json=player.update(1))

    assert [line["rule"] for line in lines()] == ["refusals"]
