"""The outbox: an event is stored for its webhooks by the transaction that causes it.

`delivery.py` sends what is stored. The ledgers keep what the webhooks ask for with their boards
(`boards.store.LedgerBoards`), so an update costs no statement for events that no webhook asks for.
"""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Connection, insert, select, update

from ..http.fields import moment
from ..models import Webhook, WebhookDelivery

EVENTS = ("season_ended", "new_leader", "user_flagged", "board_closed")


class Subscription(NamedTuple):
    """What a webhook asks for: these events, of these boards or, if None, of all boards."""

    webhook_id: int
    events: frozenset[str]
    boards: frozenset[str] | None

    def wants(self, event: str, board_id: str = "") -> bool:
        """Whether the webhook asks for this event; `boards` matters only to events of a board."""
        is_of_board = not board_id or self.boards is None or board_id in self.boards
        return event in self.events and is_of_board


Subscriptions = tuple[Subscription, ...]


def subscriptions(connection: Connection, lock: bool = False) -> Subscriptions:
    """Return what the enabled webhooks ask for.

    With `lock`, these webhooks cannot be deleted before the transaction ends.
    """
    statement = (
        select(Webhook.webhook_id, Webhook.events, Webhook.boards)
        .where(Webhook.disabled_at.is_(None))
        .order_by(Webhook.webhook_id)
    )
    if lock:
        statement = statement.with_for_update(read=True, key_share=True)
    return tuple(
        Subscription(webhook_id, frozenset(events), None if boards is None else frozenset(boards))
        for webhook_id, events, boards in connection.execute(statement)
    )


def wants(webhooks: Subscriptions, event: str, board_id: str = "") -> bool:
    """Whether one of the webhooks asks for this event. Reads no database."""
    return any(each.wants(event, board_id) for each in webhooks)


def add(
    connection: Connection,
    webhooks: Subscriptions,
    event: str,
    happened_at: datetime,
    data: Mapping[str, Any],
    board_id: str = "",
) -> None:
    """Store an event, with the JSON values `data`, for each webhook that asks for it.

    The events of a board must be added under the lock of its ledger, which gives them their order.
    """
    wanted = [each.webhook_id for each in webhooks if each.wants(event, board_id)]
    add_for(connection, wanted, event, happened_at, data, board_id)


def add_for(
    connection: Connection,
    webhook_ids: list[int],
    event: str,
    happened_at: datetime,
    data: Mapping[str, Any],
    board_id: str = "",
) -> None:
    """Store an event for these webhooks, whatever they ask for."""
    now = datetime.now(UTC)
    row = {
        "event_id": f"msg_{uuid.uuid4().hex}",
        "event": event,
        "board_id": board_id,
        "payload": orjson.dumps(
            {"type": event, "timestamp": moment(happened_at), "data": data}
        ).decode(),
        "created_at": now,
        "next_attempt_at": now,
    }
    if webhook_ids:
        rows = [{**row, "webhook_id": webhook_id} for webhook_id in webhook_ids]
        connection.execute(insert(WebhookDelivery), rows)


def remove_name(connection: Connection, user_id: str) -> None:
    """Remove the name of a user who is hidden or erased from the stored events. Scans them all."""
    statement = select(WebhookDelivery.delivery_id, WebhookDelivery.payload).where(
        WebhookDelivery.payload.contains(user_id)
    )
    for delivery_id, payload in connection.execute(statement).all():
        event = orjson.loads(payload)
        data = event["data"]
        for each in (data, data.get("previous"), *data.get("top_10", ())):
            if each and each.get("user_id") == user_id:
                each["username"] = None
        of_delivery = update(WebhookDelivery).where(WebhookDelivery.delivery_id == delivery_id)
        connection.execute(of_delivery.values(payload=orjson.dumps(event).decode()))
