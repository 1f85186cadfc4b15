"""Handle the events `subscribe` and `unsubscribe` of Socket.IO clients."""

from typing import Any

from flask import Flask

from ...boards.schemas import board_reference_schema
from ...errors import TooManyConnections, translate
from ...http.fields import json_object
from ...http.json import dumps
from ...observability.metrics import SOCKET_IO
from ...services import services
from .. import hub
from . import engine
from .packets import StrictPacket


def handle(app: Flask, client: Any, event: StrictPacket) -> bool:
    """Subscribe to a board or unsubscribe, and acknowledge. Return whether it was accepted.

    Blocks for the current top 10, which is sent before the acknowledgement.
    """
    body = event.data[1] if len(event.data) > 1 else None
    with app.app_context():
        try:
            response = {"status": 200, "body": _change(app, client, str(event.data[0]), body)}
        except Exception as error:
            refused = translate(error)
            response = {"status": refused.status, "body": refused.body()}
    if event.id is not None:
        client.session.send(engine.message(f"3{event.id}{dumps([response]).decode()}"))
    return response["status"] == 200


def _change(app: Flask, client: Any, kind: str, body: object) -> dict[str, Any]:
    board_id = board_reference_schema.load(json_object(body))["board"]
    subscribers = services(app).subscribers
    if kind == "unsubscribe":
        subscribers.unsubscribe(client.session, board_id)
    else:
        if subscribers.watched(client.session) >= hub.MAX_BOARDS:
            raise TooManyConnections(f"A connection watches at most {hub.MAX_BOARDS} boards.")
        hub.subscribe(app, SOCKET_IO, client.session, client.caller, [board_id])
    return {"board": board_id}
