"""Broadcasts: the only module that sends board messages to subscribers."""

import logging
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from flask import Flask, current_app

from ..extensions import socketio
from ..http.json import dumps
from ..leaderboard import top10
from ..leaderboard.top10 import Batch
from ..observability import metrics
from .connections import Connections
from .feed import Feed
from .socketio import engine
from .websocket.framing import text_frame

log = logging.getLogger(__name__)


class Audience:
    """The Socket.IO and WebSocket subscribers of this process, and the last top 10 sent to them."""

    def __init__(self) -> None:
        self.sockets: set[engine.Outbox] = set()
        self.viewers: set[Any] = set()
        self.board: dict[str, Any] | None = None
        self.sent_at: float | None = None  # by time.monotonic

    def deliver(self, batch: Batch) -> None:
        """Send the updates to all subscribers, and the top 10 if it changed. Never blocks.

        A failure is logged and never raised, because the updates are committed.
        """
        messages = [{"type": "score_update", "data": update} for update in batch.updates]
        if batch.top10 != self.board:
            self.board = batch.top10
            messages.append(self.present())
        if messages:
            try:
                self._send(messages)
                metrics.count_pushed(batch.received)
            except Exception:
                log.exception("a broadcast failed")

    def present(self) -> dict[str, Any]:
        """Return the `top_10_update` message of the current top 10."""
        return {"type": "top_10_update", "data": self.board}

    def _send(self, messages: list[dict[str, Any]]) -> None:
        texts = [dumps(message).decode() for message in messages]
        if self.sockets:
            packets = [_event(*told) for told in zip(messages, texts, strict=True)]
            frames = engine.frames(packets)
            for outbox in list(self.sockets):
                outbox.push(frames, packets)
        if self.viewers:
            frames = b"".join(map(text_frame, texts))
            for viewer in list(self.viewers):
                viewer.push(frames)
        self.sent_at = time.monotonic()
        metrics.DELIVERIES.labels(metrics.SOCKET_IO).inc(len(messages) * len(self.sockets))
        metrics.DELIVERIES.labels(metrics.WEBSOCKET).inc(len(messages) * len(self.viewers))


def init_app(app: Flask) -> None:
    """Give the application its audience."""
    audience, connections = Audience(), Connections(app.config["CONNECTIONS_PER_ADDRESS"])

    def session_revoked(token_id: str, until: datetime) -> None:
        """Close the connections made with a token of this id that was issued until then."""
        connections.end_sessions({token_id: until.timestamp()})

    app.extensions["audience"] = audience
    app.extensions["connections"] = connections
    app.extensions["feed"] = Feed(top10.since, audience.deliver)
    app.extensions["session_revoked"] = session_revoked


def publish(batch: Batch) -> None:
    """Send a committed batch to all viewers of this process, and on to the other processes."""
    current_app.extensions["top10_cache"].offer(batch)
    current_app.extensions["feed"].offer(batch)
    socketio.server.manager.share(batch)


def subscribe_socket(app: Flask, outbox: engine.Outbox) -> None:
    """Add a Socket.IO subscriber and send it the current top 10 first. May block for a read."""

    def subscribe(hub: Audience) -> None:
        message = hub.present()
        packets = [_event(message, dumps(message).decode())]
        outbox.push(engine.frames(packets), packets)
        hub.sockets.add(outbox)

    _subscribe(app, subscribe)


def subscribe_websocket(app: Flask, viewer: Any) -> None:
    """Add a WebSocket subscriber and send it the current top 10 first. May block for a read."""

    def subscribe(hub: Audience) -> None:
        viewer.push(text_frame(dumps(hub.present()).decode()))
        hub.viewers.add(viewer)

    _subscribe(app, subscribe)


def _subscribe(app: Flask, subscribe: Callable[[Audience], object]) -> None:
    with app.app_context():
        app.extensions["feed"].admit(lambda: subscribe(app.extensions["audience"]))


def unsubscribe(app: Flask, subscriber: Any) -> None:
    """Stop sending to a subscriber of either protocol."""
    app.extensions["audience"].sockets.discard(subscriber)
    app.extensions["audience"].viewers.discard(subscriber)


def _event(message: dict[str, Any], text: str) -> Any:
    """Return the packet of a message with its JSON text; the event name is the message's type."""
    return engine.message(f'2["{message["type"]}",{text}]')
