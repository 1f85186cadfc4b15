"""Everything about sign-ins leaves a line of JSON and a count, and no secret."""

import json
import logging
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from scoreboard.db import transactions as database
from scoreboard.models import RevokedToken
from scoreboard.services import services

ANN = {"username": "Ann", "email": "ann@example.com", "password": "correct horse"}
LOGIN = {"username": "Ann", "password": "correct horse"}


@pytest.fixture
def lines(app, caplog):
    """Return a function that returns the audit lines so far."""
    logger = logging.getLogger("scoreboard.audit")
    logger.addHandler(caplog.handler)
    yield lambda: [
        json.loads(line)
        for record in caplog.records
        if record.name == logger.name
        for line in record.message.splitlines()
    ]
    logger.removeHandler(caplog.handler)


def count(event, outcome):
    labels = {"event": event, "outcome": outcome}
    return services().metrics.registry.get_sample_value("scoreboard_auth_events_total", labels) or 0


def post(client, path, body=None, token=None):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return client.post(f"/api/auth/{path}", json=body, headers=headers)


def test_a_sign_in_leaves_one_line(client, lines):
    user_id = post(client, "register", ANN).json["user_id"]
    before = count("login", "accepted")

    client.post("/api/auth/login", json=LOGIN, headers={"X-Request-ID": "request-0001"})

    line = lines()[-1]
    assert line.pop("time")
    assert line == {
        "event": "auth",
        "request_id": "request-0001",
        "door": "http",
        "address": "127.0.0.1",
        "act": "login",
        "user_id": user_id,
        "code": "accepted",
    }
    assert count("login", "accepted") == before + 1


def test_every_event_leaves_a_line_with_its_outcome(client, lines):
    user_id = post(client, "register", ANN).json["user_id"]
    post(client, "register", ANN)
    post(client, "register", {**ANN, "username": "admin"})
    post(client, "login", {**LOGIN, "password": "wrong horse"})
    post(client, "login", {**LOGIN, "username": "Nobody"})
    post(client, "login", {})
    pair = post(client, "login", LOGIN).json
    post(client, "refresh", token=pair["refresh_token"])
    long_ago = datetime.now(UTC) - timedelta(minutes=1)
    used = update(RevokedToken).values(revoked_at=long_ago)
    database.transaction(lambda connection: connection.execute(used))
    post(client, "refresh", token=pair["refresh_token"])
    post(client, "logout", token=post(client, "login", LOGIN).json["access_token"])
    post(client, "logout", token="x")

    assert [(line["act"], line["code"], line["user_id"]) for line in lines()] == [
        ("register", "accepted", user_id),
        ("register", "username_taken", None),
        ("register", "name_reserved", None),
        ("login", "wrong_credentials", user_id),
        ("login", "wrong_credentials", None),
        ("login", "invalid_input", None),
        ("login", "accepted", user_id),
        ("refresh", "accepted", user_id),
        ("refresh", "token_reused", user_id),
        ("login", "accepted", user_id),
        ("logout", "accepted", user_id),
        ("logout", "token_invalid", None),
    ]


def test_no_line_has_a_password_a_token_or_a_name_that_nobody_has(client, lines):
    post(client, "register", ANN)
    post(client, "login", {"username": "Ann", "password": "a secret typed wrong"})
    post(client, "login", {"username": "a secret typed as a name", "password": "Ann"})
    pair = post(client, "login", LOGIN).json
    renewed = post(client, "refresh", token=pair["refresh_token"]).json
    post(client, "logout", token=renewed["refresh_token"])

    logged = json.dumps(lines())
    for secret in ("secret", "correct horse", *pair.values(), *renewed.values()):
        if secret not in (pair["user_id"], "Bearer", 900):
            assert str(secret) not in logged


def test_what_moderators_do_is_logged_once_and_counted(client, make_user, lines):
    admin, player = make_user("admin"), make_user()
    before = count("suspend", "accepted"), count("role", "accepted")

    for act, body in (("suspend", None), ("reinstate", None), ("role", {"role": "scorer"})):
        url = f"/api/admin/users/{player.user_id}/{act}"
        client.post(url, json=body, headers=admin.bearer)

    assert [(line["event"], line["act"]) for line in lines()] == [
        ("moderation", "suspend"),
        ("moderation", "reinstate"),
        ("moderation", "role scorer"),
    ]
    assert (count("suspend", "accepted"), count("role", "accepted")) == tuple(
        number + 1 for number in before
    )


def test_what_is_done_by_command_is_logged_too(app, lines):
    run = app.test_cli_runner().invoke
    created = run(args=["users", "create", "Ann", "ann@example.com", "--password", "correct horse"])
    run(args=["users", "role", "Ann", "admin"])
    run(args=["users", "suspend", "Ann"])

    told = [(line["act"], line["door"], line["caller"], line["user_id"]) for line in lines()]
    user_id = created.output.strip()
    assert told == [
        ("create player", "command line", None, user_id),
        ("role admin", "command line", None, user_id),
        ("suspend", "command line", None, user_id),
    ]
