"""Updates that come as events: beside everything else, and answered like those by HTTP."""

import contextlib
import threading
from typing import Any

from engineio.exceptions import SocketIsClosedError
from flask import Flask

from ...concurrency import runtime as transport
from ...errors import Stopping, translate
from ...http import request as requests
from ...http.json import dumps
from ...observability import audit
from ...scores import submit as service
from . import engine
from .packets import StrictPacket

# Of one client in flight together; the next is read when one of them is answered.
MOST_UNDER_WAY = 256


def submit(app: Flask, session: Any, event: StrictPacket) -> None:
    """Submit an update of this session's client, once there is room for one more.

    It is acknowledged when it is done, and if it is refused the session is marked so.
    """
    if session.room is None:
        session.room = threading.Semaphore(MOST_UNDER_WAY)
    session.room.acquire()
    transport.spawn(_answer, app, session, event)


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
    """Submit an update as `POST /api/score/update` does; return status and body."""
    origin = requests.event_origin(session.address)
    with app.app_context():
        try:
            if app.extensions["connections"].stopping:
                with audit.Attempt(origin):  # not observed: the client is not at fault
                    raise Stopping
            return {"status": 200, "body": service.submit(body, session.token, origin)}
        except Exception as error:
            told = translate(error)
            return {"status": told.status, "body": told.body()}
