"""Fixtures of webhooks: create one as an admin, and read its outbox."""

import json

import pytest
from sqlalchemy import select

from scoreboard.db import transactions
from scoreboard.models import WebhookDelivery

EVENTS = ["season_ended", "new_leader", "user_flagged", "board_closed"]


@pytest.fixture
def administer(client, admin):
    """Return a function that sends a request to an admin endpoint and returns the response."""

    def administer(method, path, body=None):
        return client.open(f"/api/admin{path}", method=method, json=body, headers=admin.bearer)

    return administer


@pytest.fixture
def make_webhook(administer):
    """Return a function that creates a webhook and returns it with its secret."""

    def make(events=EVENTS, **fields):
        body = {"url": "https://hooks.example/1", "events": events, **fields}
        response = administer("POST", "/webhooks", body)
        assert response.status_code == 201, response.json
        return response.json

    return make


@pytest.fixture
def outbox(app):
    """Return a function that returns the stored events, the oldest first: type and data."""

    def outbox():
        statement = select(WebhookDelivery.payload).order_by(WebhookDelivery.delivery_id)
        payloads = transactions.read(lambda c: c.execute(statement).scalars().all())
        return [(each["type"], each["data"]) for each in map(json.loads, payloads)]

    return outbox
