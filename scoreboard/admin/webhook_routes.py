"""The admin endpoints of webhooks."""

from typing import Any

from flask import g

from ..http.documented import Documented
from ..http.request import json_body, query
from ..webhooks import schemas, service
from .routes import ADMIN, bp

WEBHOOK: dict[str, Any] = {
    **ADMIN,
    "path": schemas.webhook_reference_schema,
    "errors": ["unknown_webhook"],
}


def _admin() -> service.Admin:
    return service.Admin(g.moderator.client, g.moderator.user_id)


@bp.get("/webhooks")
@Documented({200: schemas.webhooks_schema}, **ADMIN)
def webhooks() -> dict[str, Any]:
    """List the webhooks, without their secrets."""
    return schemas.webhooks_schema.dump({"webhooks": service.all_webhooks()})


@bp.post("/webhooks")
@Documented(
    {201: schemas.newly_created_webhook_schema},
    body=schemas.new_webhook_schema,
    errors=["too_many_webhooks"],
    **ADMIN,
)
def create_webhook() -> tuple[dict[str, Any], int]:
    """Create a webhook. The response is the only one with its secret."""
    return schemas.newly_created_webhook_schema.dump(_admin().create(json_body())), 201


@bp.patch("/webhooks/<webhook_id>")
@Documented({200: schemas.webhook_schema}, body=schemas.webhook_changes_schema, **WEBHOOK)
def change_webhook(webhook_id: str) -> dict[str, Any]:
    """Change a webhook. While it is not enabled, its pending deliveries wait."""
    return schemas.webhook_schema.dump(_admin().change(webhook_id, json_body()))


@bp.delete("/webhooks/<webhook_id>")
@Documented({204: None}, **WEBHOOK)
def delete_webhook(webhook_id: str) -> tuple[str, int]:
    """Delete a webhook and all of its deliveries."""
    _admin().delete(webhook_id)
    return "", 204


@bp.post("/webhooks/<webhook_id>/test")
@Documented({201: schemas.delivery_schema}, **WEBHOOK)
def test_webhook(webhook_id: str) -> tuple[dict[str, Any], int]:
    """Send an event of type `test` to a webhook."""
    return schemas.delivery_schema.dump(_admin().test(webhook_id)), 201


@bp.get("/webhooks/<webhook_id>/deliveries")
@Documented({200: schemas.deliveries_schema}, query=schemas.deliveries_query_schema, **WEBHOOK)
def webhook_deliveries(webhook_id: str) -> dict[str, Any]:
    """List the deliveries of a webhook, the newest first, of the last 7 days."""
    found = service.deliveries(webhook_id, query())
    return schemas.deliveries_schema.dump({"deliveries": found})


@bp.post("/webhooks/<webhook_id>/deliveries/<delivery_id>/replay")
@Documented(
    {200: schemas.delivery_schema},
    **{
        **ADMIN,
        "path": schemas.delivery_reference_schema,
        "errors": ["unknown_delivery"],
    },
)
def replay_delivery(webhook_id: str, delivery_id: str) -> dict[str, Any]:
    """Send a delivery again, with the same event id."""
    return schemas.delivery_schema.dump(_admin().replay(webhook_id, delivery_id))
