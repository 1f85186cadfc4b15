"""Every score update, account event and moderation leaves one JSON line without secrets."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from scoreboard.db import transactions
from scoreboard.http.request import ClientInfo
from scoreboard.models import RevokedToken
from scoreboard.observability.audit import Attempt
from scoreboard.services import services
from tests.support.api import submit
from tests.support.tokens import mint

ANN = {"username": "Ann", "email": "ann@example.com", "password": "correct horse"}
LOGIN = {"username": "Ann", "password": "correct horse"}
REQUEST_ID = {"X-Request-ID": "request-0001"}


def post(client, headers, body):
    return client.post("/api/score/update", json=body, headers=headers)


def auth(client, path, body=None, token=None):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return client.post(f"/api/auth/{path}", json=body, headers=headers)


def values(lines, *names):
    return [tuple(line[name] for name in names) for line in lines]


def account_events(event, outcome):
    labels = {"event": event, "outcome": outcome}
    return services().metrics.registry.get_sample_value("scoreboard_auth_events_total", labels)


def test_an_accepted_update_leaves_one_line(client, player, audit_lines):
    post(client, {**player.bearer, **REQUEST_ID}, player.update(7.0))

    (line,) = audit_lines()
    assert line.pop("latency_ms") > 0
    assert line.pop("time")
    assert type(line["score_value"]) is int
    assert line == {
        "event": "score_update",
        "request_id": "request-0001",
        "door": "http",
        "address": "127.0.0.1",
        "caller": player.user_id,
        "role": "player",
        "user_id": player.user_id,
        "score_value": 7,
        "status": 200,
        "code": "accepted",
    }


@pytest.mark.parametrize("address", ["203.0.113.7", "fe80::1%eth0", 'a"b\\c\n\u00e9\u2028\ud800'])
@pytest.mark.parametrize("value", [None, 7.0, -0.5, 1e-07, 0.1 + 0.2, 2.0**53 - 1])
def test_a_line_equals_the_output_of_json_dumps(app, audit_lines, caplog, address, value):
    with Attempt(ClientInfo("http", address, "request-0001"), score_value=value):
        pass

    (line,) = audit_lines()
    assert json.dumps(line) == caplog.records[-1].getMessage()
    assert (line["address"], line["score_value"], line["caller"]) == (address, value, None)


@pytest.mark.parametrize("settings", [{"SCORE_RATE_LIMIT": "1/day"}])
def test_a_refused_update_leaves_one_line_with_its_code(client, player, make_user, audit_lines):
    for each in (player.update(7), player.update(7), make_user().update(7), player.update("x")):
        submit(client, player, each)
    post(client, {}, player.update(7))
    client.post("/api/score/update", data="{", headers=player.bearer)

    assert values(audit_lines(), "status", "code") == [
        (200, "accepted"),
        (429, "rate_limited"),
        (401, "not_permitted"),
        (400, "invalid_input"),
        (401, "token_missing"),
        (400, "invalid_json"),
    ]


def test_every_update_of_a_batch_leaves_one_line(client, scorer, player, audit_lines):
    updates = [player.update(7), player.update("seven"), player.update(7), None]

    headers = {**scorer.bearer, **REQUEST_ID}
    client.post("/api/score/batch", json={"updates": updates}, headers=headers)

    assert values(audit_lines(), "status", "code", "user_id") == [
        (200, "accepted", player.user_id),
        (400, "invalid_input", None),
        (400, "replayed", player.user_id),
        (400, "invalid_json", None),
    ]
    assert set(values(audit_lines(), "request_id", "caller", "door")) == {
        ("request-0001", scorer.user_id, "http")
    }


def test_a_batch_refused_as_a_whole_leaves_one_line(client, player, audit_lines):
    for updates, headers in [
        ([], player.bearer),
        ([player.update(1), player.update(2)], player.bearer),
        ([player.update(1)], {}),
    ]:
        client.post("/api/score/batch", json={"updates": updates}, headers=headers)

    assert values(audit_lines(), "status", "code", "caller") == [
        (400, "invalid_input", player.user_id),
        (401, "not_permitted", player.user_id),
        (401, "token_missing", None),
    ]


@pytest.mark.parametrize("body", [{"score_value": "seven"}, {"user_id": None}, "{", []])
def test_an_invalid_update_is_logged_with_its_caller_without_a_query(
    client, player, audit_lines, monkeypatch, body
):
    monkeypatch.setattr("scoreboard.db.transactions.read", lambda work: 1 / 0)

    response = post(
        client, player.bearer, {**player.update(7), **body} if isinstance(body, dict) else body
    )

    assert response.status_code == 400
    assert values(audit_lines(), "status", "caller", "role") == [(400, player.user_id, "player")]


@pytest.mark.parametrize("token", [None, "nonsense", "expired", "signed by another"])
def test_an_invalid_update_without_a_valid_token_is_logged_without_a_caller(
    client, player, audit_lines, token
):
    minted = {
        "expired": mint(player.user_id, exp=datetime.now(UTC) - timedelta(hours=1)),
        "signed by another": mint(player.user_id, key="k" * 48),
    }
    post(client, {"Authorization": f"Bearer {minted.get(token, token)}"}, player.update("seven"))

    assert values(audit_lines(), "status", "caller", "role") == [(400, None, None)]


def test_an_internal_error_leaves_a_line(client, player, audit_lines, monkeypatch):
    monkeypatch.setattr("scoreboard.db.transactions.transaction", lambda work, **options: 1 / 0)

    submit(client, player, player.update(7))

    assert values(audit_lines(), "code") == [("server_error",)]


def test_no_line_of_an_update_has_a_token_or_the_body(client, player, audit_lines):
    submit(client, player, player.update(7, nonce="secret-nonce"))
    submit(client, player, player.update(7, extra="secret-extra"))

    text = json.dumps(audit_lines())
    assert player.token not in text
    assert "secret" not in text


@pytest.mark.parametrize("forged", ["short", "x" * 65, 'a"b\nc" {"event": 1}', "line\\nbreak"])
def test_an_invalid_request_id_is_replaced(client, player, audit_lines, forged):
    environ = {"HTTP_X_REQUEST_ID": forged}

    client.post(
        "/api/score/update", json=player.update(7), headers=player.bearer, environ_base=environ
    )

    assert len(audit_lines()[0]["request_id"]) == 32


def test_a_sign_in_leaves_one_line_and_is_counted(client, audit_lines):
    user_id = auth(client, "register", ANN).json["user_id"]

    client.post("/api/auth/login", json=LOGIN, headers=REQUEST_ID)

    line = audit_lines()[-1]
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
    assert account_events("login", "accepted") == 1


def test_every_account_event_leaves_a_line_with_its_outcome(client, audit_lines):
    user_id = auth(client, "register", ANN).json["user_id"]
    auth(client, "register", ANN)
    auth(client, "register", {**ANN, "username": "admin"})
    auth(client, "login", {**LOGIN, "password": "wrong horse"})
    auth(client, "login", {**LOGIN, "username": "Nobody"})
    auth(client, "login", {})
    pair = auth(client, "login", LOGIN).json
    auth(client, "refresh", token=pair["refresh_token"])
    used = update(RevokedToken).values(revoked_at=datetime.now(UTC) - timedelta(minutes=1))
    transactions.transaction(lambda connection: connection.execute(used))
    auth(client, "refresh", token=pair["refresh_token"])
    auth(client, "logout", token=auth(client, "login", LOGIN).json["access_token"])
    auth(client, "logout", token="x")

    assert values(audit_lines(), "act", "code", "user_id") == [
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


def test_no_line_has_a_password_a_token_or_an_unknown_name(client, audit_lines):
    auth(client, "register", ANN)
    auth(client, "login", {"username": "Ann", "password": "a secret as a password"})
    auth(client, "login", {"username": "a secret as a name", "password": "Ann"})
    pair = auth(client, "login", LOGIN).json
    renewed = auth(client, "refresh", token=pair["refresh_token"]).json
    auth(client, "logout", token=renewed["refresh_token"])

    logged = json.dumps(audit_lines())
    tokens = [each[name] for each in (pair, renewed) for name in ("access_token", "refresh_token")]
    assert [text for text in ("secret", "correct horse", *tokens) if text in logged] == []


def test_moderation_is_counted(client, make_user):
    admin, player = make_user("admin"), make_user()

    for act in ("suspend", "role"):
        url = f"/api/admin/users/{player.user_id}/{act}"
        client.post(url, json={"role": "scorer"}, headers=admin.bearer)

    assert account_events("suspend", "accepted") == account_events("role", "accepted") == 1


def test_every_command_leaves_one_line(app, audit_lines):
    run = app.test_cli_runner().invoke
    created = run(args=["users", "create", "Ann", "ann@example.com", "--password", "correct horse"])
    run(args=["users", "role", "Ann", "admin"])
    run(args=["users", "suspend", "Ann"])

    user_id = created.stdout.strip()
    assert values(audit_lines(), "act", "door", "caller", "user_id") == [
        ("create player", "command line", None, user_id),
        ("role admin", "command line", None, user_id),
        ("suspend", "command line", None, user_id),
    ]
