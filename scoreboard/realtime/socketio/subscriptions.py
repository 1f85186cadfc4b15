"""Handle the events `subscribe` and `unsubscribe` of Socket.IO clients."""

from typing import Any

from flask import Flask

from ...boards.schemas import board_reference_schema
from ...errors import RateLimited, translate
from ...http.fields import json_object
from ...http.json import dumps
from ...services import services
from ..useless_traffic import WINDOW
from . import engine
from .packets import StrictPacket

EVENTS = ("subscribe", "unsubscribe")


def handle(app: Flask, client: Any, event: StrictPacket) -> bool:
    """Subscribe to a board or unsubscribe, and acknowledge. Return whether it was accepted.

    Blocks for the current top 10, which is sent before the acknowledgement.
    """
    body = event.data[1] if len(event.data) > 1 else None
    with app.app_context():
        try:
            response = {"status": 200, "body": _change(client, str(event.data[0]), body)}
        except Exception as error:
            refused = translate(error)
            response = {"status": refused.status, "body": refused.body()}
    if event.id is not None:
        client.session.send(engine.message(f"3{event.id}{dumps([response]).decode()}"))
    return response["status"] == 200


def _change(client: Any, kind: str, body: object) -> dict[str, Any]:
    # An accepted subscription may cost a read of the database, a refused one too.
    if client.session.useless.exceeds_limit(0):
        raise RateLimited(WINDOW)
    board_id = board_reference_schema.load(json_object(body))["board"]
    subscribers = services().subscribers
    if kind == "subscribe":
        subscribers.subscribe(client, board_id)
    else:
        subscribers.unsubscribe(client, board_id)
    return {"board": board_id}
