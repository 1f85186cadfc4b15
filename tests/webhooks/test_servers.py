"""Real servers deliver to real receivers: after an outage, a kill, and beside a slow receiver."""

import base64
import hashlib
import hmac
import itertools
import json
from collections import defaultdict

import pytest
import requests

from tests.support import databases
from tests.support.receivers import Receiver
from tests.support.servers import start_servers, stop_all
from tests.support.waiting import wait_until

UPDATES = 6
SECONDS = 30


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def servers(request, tmp_path_factory):
    """Return a server on SQLite, and two processes on one Postgres database."""
    settings = {"WEBHOOK_ALLOW_PRIVATE": "1"}
    if request.param == "postgres":
        settings["DATABASE_URL"] = databases.emptied_postgres()
    count = 1 if request.param == "sqlite" else 2
    servers = start_servers(tmp_path_factory.mktemp("servers"), count, **settings)
    yield servers
    stop_all(servers)


@pytest.fixture(scope="module")
def admin(servers):
    return servers[0].user("Zoe", role="admin")


@pytest.fixture(scope="module")
def players(servers):
    return [servers[0].user(name) for name in ("Ann", "Ben")]


@pytest.fixture
def administer(servers, admin):
    """Return a function that sends a request to an admin endpoint and returns the response."""

    def administer(method, path, body=None):
        url = f"{servers[0].url}/api/admin{path}"
        return requests.request(method, url, json=body, headers=admin.bearer, timeout=30)

    return administer


@pytest.fixture
def make_receiver(administer):
    """Return a function that creates a receiver that is down, and its webhook."""
    made = []

    def make(events=("new_leader",)):
        receiver = Receiver()
        body = {"url": receiver.url, "events": list(events)}
        receiver.webhook = administer("POST", "/webhooks", body).json()
        receiver.path = f"/webhooks/{receiver.webhook['webhook_id']}"
        made.append(receiver)
        return receiver

    yield make
    for receiver in made:
        administer("DELETE", receiver.path)
        receiver.close()


@pytest.fixture(scope="module")
def lead(servers, players):
    """Return a function that lets the other of two players take the lead of a board."""
    scores, turns = itertools.count(1), defaultdict(itertools.count)

    def lead(board="main"):
        score = next(scores)
        player, server = players[next(turns[board]) % 2], servers[score % len(servers)]
        response = server.post(player.token, player.update(score, board=board))
        assert response.status_code == 200, response.text
        return score

    return lead


def scores(receiver, board):
    """Return the scores of the leaders of a board that have arrived, in order."""
    sent = [json.loads(request.body)["data"] for request in receiver.requests]
    return [data["score"] for data in sent if data["board"] == board]


def is_signed(request, secret):
    key = base64.b64decode(secret.removeprefix("whsec_"))
    head = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}."
    digest = base64.b64encode(hmac.digest(key, head.encode() + request.body, hashlib.sha256))
    return request.headers["webhook-signature"] == f"v1,{digest.decode()}"


def test_after_an_outage_everything_arrives_in_order_once_and_signed(
    administer, make_receiver, lead
):
    administer("POST", "/boards", {"board_id": "cup", "title": "Cup"})
    receiver = make_receiver()
    sent = {board: [] for board in ("main", "cup")}
    for _ in range(UPDATES):
        for board in sent:
            sent[board].append(lead(board))

    def has_failed():
        listed = administer("GET", f"{receiver.path}/deliveries").json()["deliveries"]
        return any(each["last_error"] for each in listed)

    wait_until(has_failed)
    receiver.open()
    wait_until(lambda: len(receiver.requests) >= 2 * UPDATES, SECONDS)

    assert {board: scores(receiver, board) for board in sent} == sent
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 2 * UPDATES
    assert all(is_signed(request, receiver.webhook["secret"]) for request in receiver.requests)


def test_a_receiver_that_hangs_delays_neither_updates_nor_another_webhook(make_receiver, lead):
    slow, quick = make_receiver().open(), make_receiver().open()
    slow.released.clear()
    first = lead()
    wait_until(lambda: slow.requests != [])

    later = [lead() for _ in range(UPDATES)]
    wait_until(lambda: len(quick.requests) == 1 + UPDATES)

    assert len(slow.requests) == 1
    assert scores(quick, "main") == [first, *later]


def test_a_kill_between_commit_and_delivery_loses_nothing(servers, administer, make_receiver, lead):
    receiver = make_receiver().open()
    receiver.released.clear()
    sent = [lead(), lead()]
    wait_until(lambda: receiver.requests != [])

    for server in servers:
        server.kill()
    receiver.released.set()
    for server in servers:
        server.start()
    # The lease of the killed process ends in a minute: do not wait for that.
    servers[0].execute("UPDATE webhook_deliveries SET next_attempt_at = created_at")
    wait_until(lambda: set(scores(receiver, "main")) == set(sent), SECONDS)

    first, *others = (request.headers["webhook-id"] for request in receiver.requests)
    assert others[0] == first  # the attempt that the kill interrupted
    assert scores(receiver, "main") == [sent[0], *sent]
