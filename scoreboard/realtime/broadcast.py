"""Broadcasts: the only way out to those who watch.

`publish` and `welcome_*` are called while the ledger stands still (or by the one whose turn it
is), so every viewer gets every message in the order of the commits.
"""

import json
import logging
from collections.abc import Sequence
from typing import Any

from flask import Flask, current_app

from ..extensions import socketio
from . import websocket
from .connections import Connections

log = logging.getLogger(__name__)

ROOM = "scoreboard"


class Audience:
    """The plain WebSocket viewers, and the board that everybody has seen."""

    def __init__(self) -> None:
        self.viewers: set[Any] = set()
        self.board: dict[str, Any] | None = None


def init_app(app: Flask) -> None:
    """Give the application its audience."""
    app.extensions["audience"] = Audience()
    app.extensions["connections"] = Connections(app.config["CONNECTIONS_PER_ADDRESS"])


def publish(updates: Sequence[dict[str, Any]], top10: dict[str, Any]) -> None:
    """Tell everyone of these updates, and of the top 10 if it is not the one they have.

    A push that fails is logged and never raised: the updates are committed.
    """
    audience: Audience = current_app.extensions["audience"]
    messages = [{"type": "score_update", "data": update} for update in updates]
    if top10 != audience.board:
        audience.board = top10
        messages.append(_present(audience))
    if messages:
        try:
            _send(audience, messages)
        except Exception:
            log.exception("a broadcast failed")


def welcome_socket(sid: str) -> None:
    """Put a Socket.IO client into the room, the present top 10 first."""
    audience: Audience = current_app.extensions["audience"]
    message = _present(audience)
    socketio.emit(message["type"], message, to=sid)
    socketio.server.enter_room(sid, ROOM)


def welcome_viewer(viewer: websocket.WebSocket) -> None:
    """Add a plain WebSocket viewer, the present top 10 first."""
    audience: Audience = current_app.extensions["audience"]
    viewer.push(_frame(_present(audience)))
    audience.viewers.add(viewer)


def forget_viewer(app: Flask, viewer: websocket.WebSocket) -> None:
    """Stop sending to a plain WebSocket viewer."""
    app.extensions["audience"].viewers.discard(viewer)


def end_session(token_id: str) -> None:
    """Close every connection made with this token, or with one of this family."""
    current_app.extensions["connections"].end_session(token_id)


def _present(audience: Audience) -> dict[str, Any]:
    return {"type": "top_10_update", "data": audience.board}


def _send(audience: Audience, messages: list[dict[str, Any]]) -> None:
    for message in messages:
        socketio.emit(message["type"], message, to=ROOM)
    if audience.viewers:
        frames = b"".join(_frame(message) for message in messages)
        for viewer in list(audience.viewers):
            viewer.push(frames)


def _frame(message: dict[str, Any]) -> bytes:
    return websocket.text_frame(json.dumps(message, separators=(",", ":")))
