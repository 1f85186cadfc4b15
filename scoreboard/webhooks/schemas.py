"""Request and response schemas of webhooks and their deliveries."""

import re
from ipaddress import ip_address
from typing import Any, ClassVar
from urllib.parse import urlsplit

import orjson
from marshmallow import ValidationError, fields, validate

from ..http.fields import BoardId, IntegerInRange, Moment, QuerySchema, Schema
from .messages import FORMATS
from .outbox import EVENTS

MAX_ID, MAX_URL_LENGTH, MAX_BOARDS = 2**31 - 1, 1000, 100
MAX_DELIVERY_ID = 2**63 - 1
BOOLEAN = {"type": "boolean"}


def check_url(url: str) -> None:
    """Raise ValidationError unless this is the absolute URL of a webhook, without credentials.

    Does not check its address: that is done when the host is resolved, for each attempt.
    """
    problem = "Must be an absolute URL, as in https://example.com/hook, without user and fragment."
    if len(url) > MAX_URL_LENGTH:
        raise ValidationError(f"Must be at most {MAX_URL_LENGTH} characters long.")
    if not re.fullmatch(r"https?://[!-~]+", url):
        raise ValidationError(problem)
    try:
        parts, port = urlsplit(url), urlsplit(url).port
        if "[" in parts.netloc:
            ip_address(parts.hostname or "")
    except ValueError:
        raise ValidationError(problem) from None
    if not re.fullmatch(r"[a-zA-Z0-9.:_-]{1,253}", parts.hostname or "") or port == 0:
        raise ValidationError(problem)
    if "@" in parts.netloc or "#" in url or "\\" in url:
        raise ValidationError(problem)


def _events(**options: Any) -> fields.List[Any]:
    is_known = fields.String(validate=validate.OneOf(EVENTS))
    return fields.List(is_known, validate=validate.Length(1, len(EVENTS)), **options)


def _boards(**options: Any) -> fields.List[Any]:
    length = validate.Length(1, MAX_BOARDS)
    return fields.List(BoardId(), allow_none=True, validate=length, **options)


class WebhookReferenceSchema(Schema):
    """The webhook id in a path."""

    webhook_id = IntegerInRange(1, MAX_ID, required=True)


class DeliveryReferenceSchema(WebhookReferenceSchema):
    """The ids of a webhook and of one of its deliveries in a path."""

    delivery_id = IntegerInRange(1, MAX_DELIVERY_ID, required=True)


class DeliveriesQuerySchema(QuerySchema):
    """The query of `GET /api/admin/webhooks/<webhook_id>/deliveries`."""

    limit = IntegerInRange(1, 100, load_default=50)
    before = IntegerInRange(1, MAX_DELIVERY_ID, load_default=MAX_DELIVERY_ID)


class NewWebhookSchema(Schema):
    """The body of `POST /api/admin/webhooks`."""

    url = fields.String(required=True, validate=check_url)
    format = fields.String(load_default="json", validate=validate.OneOf(FORMATS))
    events = _events(required=True)
    boards = _boards(load_default=None)


class WebhookChangesSchema(Schema):
    """The body of `PATCH /api/admin/webhooks/<webhook_id>`."""

    url = fields.String(validate=check_url)
    format = fields.String(validate=validate.OneOf(FORMATS))
    events = _events()
    boards = _boards()
    enabled = fields.Boolean(truthy={True}, falsy={False})


class WebhookSchema(Schema):
    """A webhook, as admins see it."""

    webhook_id = fields.Integer()
    url = fields.String()
    format = fields.String()
    events = fields.List(fields.String())
    boards = fields.List(fields.String(), allow_none=True)
    enabled = fields.Function(lambda each: each.disabled_at is None, metadata=BOOLEAN)
    created_at = Moment()


class NewlyCreatedWebhookSchema(WebhookSchema):
    """A webhook with its secret, in the response that creates it."""

    secret = fields.String()


class WebhooksSchema(Schema):
    """All webhooks."""

    webhooks = fields.List(fields.Nested(WebhookSchema))


class DeliverySchema(Schema):
    """A delivery, as admins see it."""

    class Meta:
        """Options of the Marshmallow schema."""

        example: ClassVar[dict[str, Any]] = {
            "delivery_id": 12,
            "event_id": "msg_0f2c6a1e9b7d4c7e8a5b3d2f1c0e9a8b",
            "event": "board_closed",
            "board": "weekly",
            "status": "pending",
            "attempts": 2,
            "created_at": "2026-01-31T12:00:00.000000Z",
            "next_attempt_at": "2026-01-31T12:00:04.250000Z",
            "delivered_at": None,
            "last_status": 503,
            "last_error": "the receiver responded with status 503",
            "payload": {"type": "board_closed", "timestamp": "2026-01-31T12:00:00Z", "data": {}},
        }

    delivery_id = fields.Integer()
    event_id = fields.String()
    event = fields.String()
    board = fields.Function(
        lambda each: each.board_id or None, metadata={"type": ["string", "null"]}
    )
    status = fields.Function(lambda each: status(each), metadata={"type": "string"})
    attempts = fields.Integer()
    created_at = Moment()
    next_attempt_at = Moment(allow_none=True)
    delivered_at = Moment(allow_none=True)
    last_status = fields.Integer(allow_none=True)
    last_error = fields.String(allow_none=True)
    payload = fields.Function(lambda each: orjson.loads(each.payload), metadata={"type": "object"})


def status(delivery: Any) -> str:
    """Return `pending`, `delivered` or `failed` for a row of a delivery."""
    if delivery.next_attempt_at is not None:
        return "pending"
    return "failed" if delivery.delivered_at is None else "delivered"


class DeliveriesSchema(Schema):
    """Some deliveries of a webhook."""

    deliveries = fields.List(fields.Nested(DeliverySchema))


webhook_reference_schema = WebhookReferenceSchema()
delivery_reference_schema = DeliveryReferenceSchema()
deliveries_query_schema = DeliveriesQuerySchema()
new_webhook_schema = NewWebhookSchema()
webhook_changes_schema = WebhookChangesSchema()
webhook_schema = WebhookSchema()
newly_created_webhook_schema = NewlyCreatedWebhookSchema()
webhooks_schema = WebhooksSchema()
delivery_schema = DeliverySchema()
deliveries_schema = DeliveriesSchema()
