"""Every attempt to update a score leaves one line of JSON."""

import json
import logging
from datetime import UTC, datetime, timedelta

import pytest

from scoreboard.http.request import Origin
from scoreboard.observability.audit import Attempt
from tests.support.tokens import mint


@pytest.fixture
def lines(app, caplog):
    """Return a function that tells the audit lines so far."""
    logger = logging.getLogger("scoreboard.audit")
    logger.addHandler(caplog.handler)
    yield lambda: [
        json.loads(line)
        for record in caplog.records
        if record.name == logger.name
        for line in record.message.splitlines()
    ]
    logger.removeHandler(caplog.handler)


def post(client, headers, update):
    return client.post("/api/score/update", json=update, headers=headers)


def test_an_accepted_update_leaves_one_line(client, player, lines):
    post(client, {**player.bearer, "X-Request-ID": "request-0001"}, player.update(7))

    (line,) = lines()
    assert line.pop("latency_ms") > 0
    assert line.pop("time")
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
def test_a_line_has_the_text_of_the_standard_library(app, caplog, address, value):
    caplog.set_level(logging.INFO, "scoreboard.audit")
    logging.getLogger("scoreboard.audit").addHandler(caplog.handler)
    with Attempt(Origin("http", address, "request-0001"), score_value=value):
        pass

    logging.getLogger("scoreboard.audit").removeHandler(caplog.handler)
    text = caplog.records[-1].getMessage()
    line = json.loads(text)
    assert json.dumps(line) == text
    assert (line["address"], line["score_value"], line["caller"]) == (address, value, None)


@pytest.mark.parametrize("settings", [{"SCORE_RATE_LIMIT": "1/day"}])
def test_a_refused_update_leaves_one_line_with_its_code(client, player, make_user, lines):
    post(client, player.bearer, player.update(7))
    post(client, player.bearer, player.update(7))
    post(client, player.bearer, make_user().update(7))
    post(client, player.bearer, player.update("seven"))
    post(client, {}, player.update(7))
    client.post("/api/score/update", data="{", headers=player.bearer)

    told = [(line["status"], line["code"]) for line in lines()]
    assert told == [
        (200, "accepted"),
        (429, "rate_limited"),
        (401, "not_permitted"),
        (400, "invalid_input"),
        (401, "token_missing"),
        (400, "invalid_json"),
    ]


def test_every_update_of_a_batch_leaves_one_line_of_the_same_request(client, scorer, player, lines):
    updates = [player.update(7), player.update("seven"), player.update(7), None]

    client.post(
        "/api/score/batch",
        json={"updates": updates},
        headers={**scorer.bearer, "X-Request-ID": "request-0001"},
    )

    told = [(line["status"], line["code"], line["user_id"]) for line in lines()]
    assert told == [
        (200, "accepted", player.user_id),
        (400, "invalid_input", None),
        (400, "replayed", player.user_id),
        (400, "invalid_json", None),
    ]
    assert {(line["request_id"], line["caller"], line["door"]) for line in lines()} == {
        ("request-0001", scorer.user_id, "http")
    }


def test_a_batch_refused_as_a_whole_leaves_one_line(client, player, lines):
    def send(updates, headers):
        client.post("/api/score/batch", json={"updates": updates}, headers=headers)

    send([], player.bearer)
    send([player.update(1), player.update(2)], player.bearer)
    send([player.update(1)], {})

    assert [(line["status"], line["code"], line["caller"]) for line in lines()] == [
        (400, "invalid_input", player.user_id),
        (401, "not_permitted", player.user_id),
        (401, "token_missing", None),
    ]


@pytest.mark.parametrize(
    ("value", "logged"), [(120, "120"), (120.0, "120"), (0, "0"), (-3, "-3"), (0.5, "0.5")]
)
def test_a_whole_number_is_logged_as_a_whole_number(client, player, lines, value, logged):
    post(client, player.bearer, player.update(value))

    assert json.dumps(lines()[0]["score_value"]) == logged


@pytest.mark.parametrize("body", [{"score_value": "seven"}, {"user_id": None}, "{", []])
def test_an_invalid_update_with_a_valid_token_is_logged_with_its_caller(
    client, player, lines, body
):
    update = {**player.update(7), **body} if isinstance(body, dict) else body
    answer = post(client, player.bearer, update)

    (line,) = lines()
    assert answer.status_code == line["status"] == 400
    assert (line["caller"], line["role"]) == (player.user_id, "player")


@pytest.mark.parametrize("token", [None, "nonsense", "expired", "signed by another"])
def test_an_invalid_update_without_a_valid_token_is_logged_without_a_caller(
    client, player, lines, token
):
    minted = {
        "expired": mint(player.user_id, exp=datetime.now(UTC) - timedelta(hours=1)),
        "signed by another": mint(player.user_id, key="k" * 48),
    }
    post(client, {"Authorization": f"Bearer {minted.get(token, token)}"}, player.update("seven"))

    (line,) = lines()
    assert (line["status"], line["caller"], line["role"]) == (400, None, None)


def test_naming_the_caller_of_an_invalid_update_asks_nothing_of_the_database(
    client, player, lines, monkeypatch
):
    monkeypatch.setattr("scoreboard.db.transactions.read", lambda work: 1 / 0)

    answer = post(client, player.bearer, player.update("seven"))

    assert answer.status_code == 400
    assert lines()[0]["caller"] == player.user_id


def test_an_error_of_ours_leaves_a_line_too(client, player, lines, monkeypatch):
    monkeypatch.setattr("scoreboard.db.transactions.transaction", lambda work, **options: 1 / 0)

    post(client, player.bearer, player.update(7))

    assert [line["code"] for line in lines()] == ["server_error"]


def test_no_line_has_a_token_or_the_body(client, player, lines):
    post(client, player.bearer, {**player.update(7), "nonce": "secret-nonce"})
    post(client, player.bearer, {**player.update(7), "extra": "secret-extra"})

    text = json.dumps(lines())
    assert player.token not in text
    assert "secret" not in text


@pytest.mark.parametrize("forged", ["short", "x" * 65, 'a"b\nc" {"event": 1}', "line\\nbreak"])
def test_a_strange_request_id_is_replaced(client, player, lines, forged):
    environ = {"HTTP_X_REQUEST_ID": forged}

    client.post(
        "/api/score/update", json=player.update(7), headers=player.bearer, environ_base=environ
    )

    assert len(lines()[0]["request_id"]) == 32
