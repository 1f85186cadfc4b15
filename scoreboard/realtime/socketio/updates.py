"""Handles `update_score` events like `POST /api/score/update`, each in its own task."""

import contextlib
import threading
from typing import Any

from engineio.exceptions import SocketIsClosedError
from flask import Flask

from ...concurrency import runtime
from ...errors import Stopping, translate
from ...http import request as requests
from ...http.json import dumps
from ...observability import audit
from ...scores import submit as service
from ...services import services
from . import engine
from .packets import StrictPacket

# Concurrent updates of one client; its next packet is read when one of them is answered.
MAX_CONCURRENT_UPDATES = 256


def submit(app: Flask, session: Any, event: StrictPacket) -> None:
    """Start a task that submits an update. Blocks while MAX_CONCURRENT_UPDATES updates are running.

    The task acknowledges the update and sets `session.refused` if it was refused.
    """
    if session.room is None:
        session.room = threading.Semaphore(MAX_CONCURRENT_UPDATES)
    session.room.acquire()
    runtime.spawn(_answer, app, session, event)


def _answer(app: Flask, session: Any, event: StrictPacket) -> None:
    try:
        told = _update(app, session, event.data[1] if len(event.data) > 1 else None)
        session.refused |= told["status"] != 200
        if event.id is not None:
            answer = dumps([told]).decode()
            with contextlib.suppress(SocketIsClosedError):
                session.socket.send(engine.message(f"3{event.id}{answer}"))
    finally:
        session.room.release()


def _update(app: Flask, session: Any, body: object) -> dict[str, Any]:
    """Submit an update as `POST /api/score/update` does; return `status` and `body`."""
    origin = requests.event_origin(session.address)
    with app.app_context():
        try:
            if services(app).connections.stopping:
                with audit.Attempt(origin):  # without `observe`: the client is not at fault
                    raise Stopping
            return {"status": 200, "body": service.submit(body, session.token, origin)}
        except Exception as error:
            told = translate(error)
            return {"status": told.status, "body": told.body()}
