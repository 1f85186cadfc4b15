"""Create, change and delete webhooks; list their deliveries, and send them again.

Each function blocks for its read or its transaction. A change of what webhooks ask for locks all
ledgers: it holds for the next update of every board, in every process.
"""

import secrets
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, delete, func, insert, select, update

from ..db import transactions
from ..errors import Conflict, NotFound
from ..http.fields import json_object
from ..http.request import ClientInfo
from ..models import BoardVersion, Webhook, WebhookDelivery
from ..observability import audit
from ..services import services
from . import messages, outbox, schemas

T = TypeVar("T")
MAX_WEBHOOKS = 20


class Admin:
    """An admin who changes webhooks: the actions are in the audit log, without the URL."""

    def __init__(self, client: ClientInfo, user_id: str | None) -> None:
        self._client, self._user_id = client, user_id

    def create(self, body: object) -> Any:
        """Create a webhook and return its row, with the secret.

        Raises InvalidInput, and Conflict if there are MAX_WEBHOOKS.
        """
        loaded = schemas.new_webhook_schema.load(json_object(body))
        row = {**loaded, "secret": messages.new_secret(), "created_at": datetime.now(UTC)}

        def work(connection: Connection) -> Any:
            count = connection.execute(select(func.count()).select_from(Webhook)).scalar_one()
            if count >= MAX_WEBHOOKS:
                message = f"There are {MAX_WEBHOOKS} webhooks: delete one first."
                raise Conflict(message, "too_many_webhooks")
            statement = insert(Webhook).values(row).returning(Webhook.__table__)
            return connection.execute(statement).one()

        created = _change_all(work)
        self._log("create-webhook", created.webhook_id)
        return created

    def change(self, webhook_id: str, body: object) -> Any:
        """Change the fields in the body and return the row. Raises InvalidInput or NotFound."""
        valid_id = _webhook_id(webhook_id)
        changes = schemas.webhook_changes_schema.load(json_object(body))
        values = {name: changes[name] for name in changes if name != "enabled"}
        if "enabled" in changes:
            values["disabled_at"] = None if changes["enabled"] else datetime.now(UTC)

        def work(connection: Connection) -> Any:
            if values:
                of_webhook = update(Webhook).where(Webhook.webhook_id == valid_id)
                connection.execute(of_webhook.values(values))
            return _find(connection, valid_id)

        changed = _change_all(work)
        self._log("change-webhook", valid_id)
        return changed

    def delete(self, webhook_id: str) -> None:
        """Delete a webhook and all of its deliveries. Raises NotFound."""
        valid_id = _webhook_id(webhook_id)

        def work(connection: Connection) -> None:
            _find(connection, valid_id)
            for table in (WebhookDelivery, Webhook):
                connection.execute(delete(table).where(table.webhook_id == valid_id))

        _change_all(work)
        self._log("delete-webhook", valid_id)

    def replay(self, webhook_id: str, delivery_id: str) -> Any:
        """Make a delivery due now, whatever its status, and return its row. Raises NotFound."""
        reference = {"webhook_id": webhook_id, "delivery_id": delivery_id}
        valid = schemas.delivery_reference_schema.load(reference)
        statement = (
            update(WebhookDelivery)
            .where(*(getattr(WebhookDelivery, name) == valid[name] for name in valid))
            .values(next_attempt_at=datetime.now(UTC), attempts=0, delivered_at=None)
            .returning(WebhookDelivery.__table__)
        )
        row = transactions.transaction(lambda c: c.execute(statement).first())
        if row is None:
            raise NotFound("This webhook has no such delivery.", "unknown_delivery")
        self._log("replay-webhook", row.webhook_id)
        return row

    def test(self, webhook_id: str) -> Any:
        """Store an event `test` for the webhook and return the delivery. Raises NotFound."""
        valid_id = _webhook_id(webhook_id)
        newest = select(WebhookDelivery.__table__).where(WebhookDelivery.webhook_id == valid_id)

        def work(connection: Connection) -> Any:
            _find(connection, valid_id)
            outbox.add_for(connection, [valid_id], "test", datetime.now(UTC), {})
            ordered = newest.order_by(WebhookDelivery.delivery_id.desc()).limit(1)
            return connection.execute(ordered).one()

        stored = transactions.transaction(work)
        self._log("test-webhook", valid_id)
        return stored

    def _log(self, action: str, webhook_id: int) -> None:
        target = {"webhook_id": webhook_id}
        audit.moderation(self._client, self._user_id, action, target, reason=None)


def all_webhooks() -> Sequence[Any]:
    """Return all webhooks, by id."""
    statement = select(Webhook.__table__).order_by(Webhook.webhook_id)
    return transactions.read(lambda c: c.execute(statement).all())


def deliveries(webhook_id: str, query: dict[str, str]) -> Sequence[Any]:
    """Return deliveries of a webhook, the newest first. Raises InvalidInput or NotFound."""
    valid_id, loaded = _webhook_id(webhook_id), schemas.deliveries_query_schema.load(query)
    statement = (
        select(WebhookDelivery.__table__)
        .where(
            WebhookDelivery.webhook_id == valid_id,
            WebhookDelivery.delivery_id < loaded["before"],
        )
        .order_by(WebhookDelivery.delivery_id.desc())
        .limit(loaded["limit"])
    )

    def read(connection: Connection) -> Sequence[Any]:
        _find(connection, valid_id)
        return connection.execute(statement).all()

    return transactions.read(read)


def _change_all(work: Callable[[Connection], T]) -> T:
    """Run `work` while no ledger writes, and let every ledger read what webhooks ask for again."""
    results: list[T] = []

    def change(connection: Connection) -> Collection[str]:
        results[:] = [work(connection)]
        # Random, as in boards/store.py: a restored backup must not repeat a version.
        connection.execute(update(BoardVersion).values(settings_version=secrets.randbits(53)))
        return ()

    services().ledgers.change_all(change)
    return results[0]


def _webhook_id(text: str) -> int:
    return int(schemas.webhook_reference_schema.load({"webhook_id": text})["webhook_id"])


def _find(connection: Connection, webhook_id: int) -> Any:
    statement = select(Webhook.__table__).where(Webhook.webhook_id == webhook_id)
    row = connection.execute(statement).first()
    if row is None:
        raise NotFound("There is no webhook with this webhook_id.", "unknown_webhook")
    return row
