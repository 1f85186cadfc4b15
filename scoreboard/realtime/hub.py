"""Broadcasts: the only module that sends board messages to subscribers."""

import logging
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from flask import Flask

from ..http.json import dumps
from ..leaderboard import top10
from ..leaderboard.top10 import Batch
from ..observability.metrics import SOCKET_IO, WEBSOCKET, Metrics
from ..services import services
from .connections import Connections
from .feed import Feed
from .socketio import engine
from .websocket.framing import text_frame

log = logging.getLogger(__name__)


class Subscribers:
    """The Socket.IO and WebSocket subscribers of this process, and the last top 10 sent to them."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
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
                self._metrics.count_pushed(batch.received)
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
        self._metrics.deliveries.labels(SOCKET_IO).inc(len(messages) * len(self.sockets))
        self._metrics.deliveries.labels(WEBSOCKET).inc(len(messages) * len(self.viewers))


def init_app(app: Flask) -> None:
    """Create the application's subscribers, connections and feed."""
    parts = services(app)
    subscribers = parts.subscribers = Subscribers(parts.metrics)
    connections = Connections(app.config["CONNECTIONS_PER_ADDRESS"], parts.metrics)
    parts.connections = connections
    parts.feed = Feed(top10.since, subscribers.deliver)

    def session_revoked(token_id: str, until: datetime) -> None:
        """Close the connections made with a token of this id that was issued until then."""
        connections.end_sessions({token_id: until.timestamp()})

    parts.session_revoked = session_revoked


def publish(batch: Batch) -> None:
    """Send a committed batch to all viewers of this process, and on to the other processes."""
    services().top10_cache.offer(batch)
    services().feed.offer(batch)
    services().socketio.server.manager.share(batch)


def subscribe_socket(app: Flask, outbox: engine.Outbox) -> None:
    """Add a Socket.IO subscriber and send it the current top 10 first. May block for a read."""

    def subscribe(hub: Subscribers) -> None:
        message = hub.present()
        packets = [_event(message, dumps(message).decode())]
        outbox.push(engine.frames(packets), packets)
        hub.sockets.add(outbox)

    _subscribe(app, subscribe)


def subscribe_websocket(app: Flask, viewer: Any) -> None:
    """Add a WebSocket subscriber and send it the current top 10 first. May block for a read."""

    def subscribe(hub: Subscribers) -> None:
        viewer.push(text_frame(dumps(hub.present()).decode()))
        hub.viewers.add(viewer)

    _subscribe(app, subscribe)


def _subscribe(app: Flask, subscribe: Callable[[Subscribers], object]) -> None:
    with app.app_context():
        services(app).feed.admit(lambda: subscribe(services(app).subscribers))


def unsubscribe(app: Flask, subscriber: Any) -> None:
    """Stop sending to a subscriber of either protocol."""
    services(app).subscribers.sockets.discard(subscriber)
    services(app).subscribers.viewers.discard(subscriber)


def _event(message: dict[str, Any], text: str) -> Any:
    """Return the packet of a message with its JSON text; the event name is the message's type."""
    return engine.message(f'2["{message["type"]}",{text}]')
