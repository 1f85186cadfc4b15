"""Handle `update_score` events like `POST /api/score/update`, each in its own task."""

import threading
from typing import Any

from flask import Flask

from ...concurrency import runtime
from ...errors import Stopping, translate
from ...http.json import dumps
from ...http.request import event_client_info
from ...observability.audit import Attempt
from ...scores import submit
from ...services import services
from . import engine
from .packets import StrictPacket

# Concurrent updates of one client; its next packet is read after one of them is acknowledged.
MAX_CONCURRENT_UPDATES = 256


def start(app: Flask, client: Any, event: StrictPacket) -> None:
    """Start a task that submits an update. Blocks while MAX_CONCURRENT_UPDATES updates are running.

    The task acknowledges the update and sets `client.was_refused` if it was refused.
    """
    if client.update_slots is None:
        client.update_slots = threading.Semaphore(MAX_CONCURRENT_UPDATES)
    client.update_slots.acquire()
    runtime.spawn(_acknowledge, app, client, event)


def _acknowledge(app: Flask, client: Any, event: StrictPacket) -> None:
    try:
        response = _submit(app, client, event.data[1] if len(event.data) > 1 else None)
        client.was_refused |= response["status"] != 200
        if event.id is not None:
            client.session.send(engine.message(f"3{event.id}{dumps([response]).decode()}"))
    finally:
        client.update_slots.release()


def _submit(app: Flask, client: Any, body: object) -> dict[str, Any]:
    """Submit an update as `POST /api/score/update` does; return `status` and `body`."""
    info = event_client_info(client.address)
    with app.app_context():
        try:
            if services(app).connections.stopping:
                with Attempt(info):  # without `observe`: the client is not at fault
                    raise Stopping
            return {"status": 200, "body": submit.submit(body, client.token, info)}
        except Exception as error:
            refused = translate(error)
            return {"status": refused.status, "body": refused.body()}
