"""Deliver what is in the outbox: at least once, in order per webhook and board, with retries.

Any process may deliver. It takes the first pending delivery of a board by a lease in the database;
a process that is killed meanwhile leaves a delivery that is due again when the lease ends.
"""

import random
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from flask import Flask
from sqlalchemy import Connection, delete, exists, func, select, update

from ..concurrency import runtime
from ..db import transactions
from ..models import Webhook, WebhookDelivery
from ..services import services
from . import messages, sender

# Longer than an attempt: see sender.TIMEOUT.
LEASE = timedelta(seconds=60)
# In seconds. The wait doubles with each attempt, and is random from a half to all of that.
MAX_BACKOFF = 600
# After so long an event is not tried again, and after so long the record of it is deleted.
TRIED_FOR, RETENTION = timedelta(hours=72), timedelta(days=7)
CLEANUP_INTERVAL, MAX_DELETED = 3600, 1000
# Deliveries of a board before the next board of the same webhook is served.
MAX_IN_A_ROW = 100

_PENDING = WebhookDelivery.next_attempt_at.is_not(None)


class Claimed(NamedTuple):
    """A delivery that this process attempts, until its lease ends."""

    delivery_id: int
    event_id: str
    payload: str
    attempts: int
    created_at: datetime
    leased_until: datetime
    url: str
    format: str
    secret: str


class Outcome(NamedTuple):
    """The result of an attempt. `retry_after`, in seconds, is the least wait for the next."""

    status: int | None
    error: str | None
    retry_after: float = 0


class Deliverer:
    """Delivers to the webhooks of an application, to each in a task of its own."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._active: set[int] = set()
        self._cleaned_at = time.monotonic()
        self.now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def start_due(self) -> None:
        """Start a task for each webhook with a delivery that is due, unless it has one.

        Blocks for a read, and deletes old deliveries once an hour.
        """
        for webhook_id in due(self.now()):
            with self._lock:
                if webhook_id in self._active:
                    continue
                self._active.add(webhook_id)
            runtime.spawn(self._deliver, webhook_id)
        if time.monotonic() - self._cleaned_at > CLEANUP_INTERVAL:
            self._cleaned_at = time.monotonic()
            delete_old(self.now())

    def _deliver(self, webhook_id: int) -> None:
        try:
            with self._app.app_context():
                for board_id in due_boards(webhook_id, self.now()):
                    for _ in range(MAX_IN_A_ROW):
                        if not self._deliver_next(webhook_id, board_id):
                            break
        finally:
            with self._lock:
                self._active.discard(webhook_id)

    def _deliver_next(self, webhook_id: int, board_id: str) -> bool:
        """Attempt the first pending delivery of a board; return whether it succeeded."""
        claimed = claim(webhook_id, board_id, self.now())
        if claimed is None:
            return False
        outcome = attempt(claimed, self._app.config["WEBHOOK_ALLOW_PRIVATE"])
        result = record(claimed, outcome, self.now())
        services().metrics.webhook_attempts.labels(result).inc()
        return result == "delivered"


def due(now: datetime) -> list[int]:
    """Return the enabled webhooks that have a delivery whose time has come. Blocks for a read."""
    waiting = exists().where(
        WebhookDelivery.webhook_id == Webhook.webhook_id, WebhookDelivery.next_attempt_at <= now
    )
    statement = select(Webhook.webhook_id).where(Webhook.disabled_at.is_(None), waiting)
    return [row[0] for row in transactions.query(statement, {})]


def due_boards(webhook_id: int, now: datetime) -> list[str]:
    """Return the boards whose first pending delivery is due, the oldest delivery first."""
    firsts = (
        select(func.min(WebhookDelivery.delivery_id))
        .where(WebhookDelivery.webhook_id == webhook_id, _PENDING)
        .group_by(WebhookDelivery.board_id)
    )
    statement = (
        select(WebhookDelivery.board_id)
        .where(WebhookDelivery.delivery_id.in_(firsts), WebhookDelivery.next_attempt_at <= now)
        .order_by(WebhookDelivery.delivery_id)
    )
    return transactions.long_read(lambda c: list(c.execute(statement).scalars()))


def claim(webhook_id: int, board_id: str, now: datetime) -> Claimed | None:
    """Lease the first pending delivery of a board, or return None if it is not due.

    Of several processes one gets it: the others find that it is not due any more.
    """
    first = (
        select(func.min(WebhookDelivery.delivery_id))
        .where(WebhookDelivery.webhook_id == webhook_id, WebhookDelivery.board_id == board_id)
        .where(_PENDING)
        .scalar_subquery()
    )
    row = WebhookDelivery
    statement = (
        update(row)
        .where(row.delivery_id == first, row.next_attempt_at <= now)
        .values(next_attempt_at=now + LEASE, attempts=row.attempts + 1)
        .returning(row.delivery_id, row.event_id, row.payload, row.attempts, row.created_at)
        .execution_options(synchronize_session=False)
    )
    enabled = select(Webhook.url, Webhook.format, Webhook.secret).where(
        Webhook.webhook_id == webhook_id, Webhook.disabled_at.is_(None)
    )

    def work(connection: Connection) -> Claimed | None:
        webhook = connection.execute(enabled).first()
        leased = connection.execute(statement).first() if webhook else None
        return Claimed(*leased, now + LEASE, *webhook) if leased and webhook else None

    return transactions.transaction(work)


def attempt(claimed: Claimed, allow_private: bool) -> Outcome:
    """Send a delivery. Blocks only this caller, for at most sender.TIMEOUT."""
    body = messages.body(claimed.format, claimed.payload)
    headers = messages.headers(claimed.secret, claimed.event_id, int(time.time()), body)
    try:
        status, retry_after = sender.post(claimed.url, body, headers, allow_private)
    except sender.NotSent as error:
        return Outcome(None, str(error))
    if 200 <= status < 300:
        return Outcome(status, None)
    return Outcome(status, f"the receiver responded with status {status}", retry_after)


def record(claimed: Claimed, outcome: Outcome, now: datetime) -> str:
    """Record the outcome of an attempt; return `delivered`, `retried` or `failed`.

    Changes nothing if the lease has ended and another process has the delivery.
    """
    values: dict[str, Any] = {"last_status": outcome.status, "last_error": outcome.error}
    values["next_attempt_at"] = None
    if outcome.error is None:
        result = "delivered"
        values["delivered_at"] = now
    elif now - claimed.created_at > TRIED_FOR:
        result = "failed"
    else:
        result = "retried"
        values["next_attempt_at"] = now + backoff(claimed.attempts, outcome.retry_after)
    of_lease = (
        WebhookDelivery.delivery_id == claimed.delivery_id,
        WebhookDelivery.next_attempt_at == claimed.leased_until,
    )
    statement = update(WebhookDelivery).where(*of_lease).values(values)
    transactions.transaction(lambda c: c.execute(statement))
    return result


def backoff(attempts: int, retry_after: float = 0) -> timedelta:
    """Return the wait after so many failed attempts: 0.5 to 1 s, doubled up to MAX_BACKOFF."""
    longest = min(MAX_BACKOFF, 2 ** min(attempts - 1, 10))
    wait = longest * random.uniform(0.5, 1)  # noqa: S311  # nosec B311
    return timedelta(seconds=max(wait, retry_after))


def delete_old(now: datetime) -> None:
    """Delete up to MAX_DELETED of the oldest deliveries that are not pending any more."""
    old = (
        select(WebhookDelivery.delivery_id)
        .where(WebhookDelivery.created_at < now - RETENTION, ~_PENDING)
        .limit(MAX_DELETED)
    )
    statement = delete(WebhookDelivery).where(WebhookDelivery.delivery_id.in_(old))
    transactions.transaction(lambda c: c.execute(statement))
