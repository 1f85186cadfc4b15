"""Deliveries: in order, at least once, with retries; in this process with a clock of the test."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select

from scoreboard.db import transactions
from scoreboard.models import WebhookDelivery
from scoreboard.services import services
from scoreboard.webhooks import delivery, sender
from tests.support.api import submit


class World:
    """Time that passes only in `wait`, and a receiver that is up or down."""

    def __init__(self, app):
        self.now = datetime.now(UTC) + timedelta(seconds=1)
        self.response = (204, 0)
        self.attempts = []
        self._deliverer = services(app).webhooks
        self._deliverer.now = lambda: self.now

    def post(self, url, body, headers, allow_private):
        self.attempts.append((headers["webhook-id"], body))
        if self.response is None:
            raise sender.NotSent("the connection failed")
        return self.response

    def wait(self, seconds=0):
        """Let the deliverer run as often as in so much time, every ten seconds."""
        end = self.now + timedelta(seconds=seconds)
        while True:
            self._deliverer.start_due()
            if self.now >= end:
                return
            self.now += timedelta(seconds=10)


@pytest.fixture
def world(app, monkeypatch):
    world = World(app)
    monkeypatch.setattr("scoreboard.concurrency.runtime.spawn", lambda work, *args: work(*args))
    monkeypatch.setattr(sender, "post", world.post)
    return world


@pytest.fixture
def lead(client, make_user):
    """Return a function that makes another user the leader of `main`."""
    scores = iter(range(1, 1000))

    def lead():
        user = make_user()
        assert submit(client, user, user.update(next(scores))).status_code == 200

    return lead


@pytest.fixture
def deliveries(administer):
    """Return a function that lists the deliveries of a webhook, the newest first."""

    def deliveries(webhook, query=""):
        path = f"/webhooks/{webhook['webhook_id']}/deliveries{query}"
        return administer("GET", path).json["deliveries"]

    return deliveries


def test_a_receiver_that_was_down_for_an_hour_gets_everything_in_order(
    world, make_webhook, lead, deliveries
):
    webhook = make_webhook()
    world.response = None
    for _ in range(5):
        lead()
        world.wait(720)
    attempts_while_down = {event_id for event_id, _ in world.attempts}
    world.attempts.clear()
    world.response = 204, 0

    world.wait(delivery.MAX_BACKOFF)

    listed = deliveries(webhook)
    sent = [event_id for event_id, _ in world.attempts]
    assert sent == [each["event_id"] for each in reversed(listed)]
    assert attempts_while_down == {sent[0]}
    assert [each["status"] for each in listed] == ["delivered"] * 5


def test_a_failed_attempt_is_listed_with_its_reason(world, make_webhook, lead, deliveries):
    webhook = make_webhook()
    world.response = 503, 0
    lead()

    world.wait()

    (listed,) = deliveries(webhook)
    expected = {"status": "pending", "attempts": 1, "board": "main", "event": "new_leader"}
    assert expected.items() <= listed.items()
    assert listed["last_status"] == 503
    assert listed["last_error"] == "the receiver responded with status 503"
    assert datetime.fromisoformat(listed["next_attempt_at"]) > world.now


def test_a_wait_that_the_receiver_asks_for_is_kept(world, make_webhook, lead):
    make_webhook()
    world.response = 429, 300
    lead()
    world.wait()

    world.wait(290)
    assert len(world.attempts) == 1

    world.wait(10)
    assert len(world.attempts) == 2


def test_an_event_that_fails_for_72_hours_is_not_tried_again_until_it_is_replayed(
    world, make_webhook, administer, lead, deliveries
):
    webhook = make_webhook()
    world.response = None
    lead()
    world.now += delivery.TRIED_FOR
    world.wait()
    world.wait(3600)
    (failed,) = deliveries(webhook)
    attempts = len(world.attempts)

    world.response = 204, 0
    path = f"/webhooks/{webhook['webhook_id']}/deliveries/{failed['delivery_id']}/replay"
    response = administer("POST", path)
    world.wait()

    assert (failed["status"], failed["next_attempt_at"]) == ("failed", None)
    assert (response.status_code, response.json["status"]) == (200, "pending")
    assert [each["status"] for each in deliveries(webhook)] == ["delivered"]
    assert len(world.attempts) == attempts + 1
    assert world.attempts[-1][0] == failed["event_id"]


def test_a_delivered_event_can_be_replayed_with_its_id(
    world, make_webhook, administer, lead, deliveries
):
    webhook = make_webhook()
    lead()
    world.wait()

    (delivered,) = deliveries(webhook)
    path = f"/webhooks/{webhook['webhook_id']}/deliveries/{delivered['delivery_id']}/replay"
    administer("POST", path)
    world.wait()

    assert [each[0] for each in world.attempts] == [delivered["event_id"]] * 2


def test_a_board_that_waits_does_not_delay_another_board(
    world, make_webhook, administer, client, player, lead
):
    make_webhook()
    administer("POST", "/boards", {"board_id": "cup", "title": "Cup"})
    world.response = None
    lead()
    world.wait()
    lead()
    world.attempts.clear()
    world.response = 204, 0

    submit(client, player, player.update(1, board="cup"))
    world.wait()

    assert [b'"board":"cup"' in body for _, body in world.attempts] == [True]


def test_a_disabled_webhook_keeps_what_is_pending(world, make_webhook, administer, lead):
    path = f"/webhooks/{make_webhook()['webhook_id']}"
    lead()

    administer("PATCH", path, {"enabled": False})
    world.wait(60)
    assert world.attempts == []

    administer("PATCH", path, {"enabled": True})
    world.wait()
    assert len(world.attempts) == 1


def test_a_lease_keeps_the_whole_board_until_it_ends(world, make_webhook, lead):
    webhook_id = make_webhook()["webhook_id"]
    lead()
    lead()
    first = delivery.claim(webhook_id, "main", world.now)

    again = delivery.claim(webhook_id, "main", world.now)
    after_the_lease = delivery.claim(webhook_id, "main", world.now + delivery.LEASE)

    assert again is None
    assert after_the_lease.delivery_id == first.delivery_id


def test_a_process_whose_lease_has_ended_changes_nothing(world, make_webhook, lead):
    webhook_id = make_webhook()["webhook_id"]
    lead()
    first = delivery.claim(webhook_id, "main", world.now)
    world.now += delivery.LEASE
    delivery.claim(webhook_id, "main", world.now)

    delivery.record(first, delivery.Outcome(500, "late"), world.now)

    soon = world.now + delivery.LEASE / 2
    assert delivery.claim(webhook_id, "main", soon) is None


def test_the_outcomes_are_counted(app, world, make_webhook, lead):
    make_webhook()
    world.response = None
    lead()
    world.wait()
    world.response = 204, 0
    world.wait(10)

    sample = services(app).metrics.registry.get_sample_value
    counts = [
        sample("scoreboard_webhook_attempts_total", {"outcome": outcome})
        for outcome in ("delivered", "retried", "failed")
    ]
    assert counts == [1, 1, 0]


def test_records_are_deleted_a_week_after_the_event_unless_pending(world, make_webhook, lead):
    make_webhook()
    lead()
    world.wait()
    lead()
    count = select(func.count()).select_from(WebhookDelivery)

    for age in (delivery.RETENTION - timedelta(hours=1), delivery.RETENTION):
        delivery.delete_old(world.now + age)

    assert transactions.read(lambda c: c.execute(count).scalar_one()) == 1


def test_the_wait_between_attempts_doubles_up_to_ten_minutes():
    waits = [delivery.backoff(attempts).total_seconds() for attempts in range(1, 30)]

    for attempts, wait in enumerate(waits, 1):
        longest = min(600, 2 ** (attempts - 1))
        assert longest / 2 <= wait <= longest
