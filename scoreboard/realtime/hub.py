"""Broadcasts: the only module that sends board messages to subscribers."""

import logging
import time
from collections.abc import Callable, Collection
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
from .websocket.connection import text_frame

log = logging.getLogger(__name__)


class Subscribers:
    """The subscribers of this process by protocol, and the current top 10 as sent to them."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self.socket_io: set[engine.EngineSession] = set()
        self.websockets: set[Any] = set()
        self.top10: dict[str, Any] | None = None
        self.sent_at: float | None = None  # by time.monotonic

    def deliver(self, batch: Batch) -> None:
        """Send the updates to all subscribers, and the top 10 if it changed. Never blocks.

        A failure is logged and never raised, because the updates are committed.
        """
        messages = [{"type": "score_update", "data": update} for update in batch.updates]
        if batch.top10 != self.top10:
            self.top10 = batch.top10
            messages.append(self.top10_update())
        if not messages:
            return
        try:
            _send(messages, self.socket_io, self.websockets)
            self.sent_at = time.monotonic()
            self._metrics.deliveries.labels(SOCKET_IO).inc(len(messages) * len(self.socket_io))
            self._metrics.deliveries.labels(WEBSOCKET).inc(len(messages) * len(self.websockets))
            self._metrics.count_pushed(batch.received)
        except Exception:
            log.exception("a broadcast failed")

    def top10_update(self) -> dict[str, Any]:
        """Return the `top_10_update` message of the current top 10."""
        return {"type": "top_10_update", "data": self.top10}


def _send(
    messages: list[dict[str, Any]],
    socket_io: Collection[engine.EngineSession] = (),
    websockets: Collection[Any] = (),
) -> None:
    """Send the messages, framed once for all subscribers of a protocol."""
    texts = [dumps(message).decode() for message in messages]
    if socket_io:
        packets = [
            engine.message(f'2["{message["type"]}",{text}]')
            for message, text in zip(messages, texts, strict=True)
        ]
        frames = engine.frames(packets)
        for session in list(socket_io):
            session.push(frames, packets)
    if websockets:
        frames = b"".join(map(text_frame, texts))
        for websocket in list(websockets):
            websocket.push(frames)


def init_app(app: Flask) -> None:
    """Create the application's subscribers, connections and feed."""
    parts = services(app)
    parts.subscribers = Subscribers(parts.metrics)
    parts.connections = Connections(app.config["CONNECTIONS_PER_ADDRESS"], parts.metrics)
    parts.feed = Feed(top10.since, parts.subscribers.deliver)

    def session_revoked(token_id: str, until: datetime) -> None:
        """Close the connections made with a token of this id that was issued until then."""
        parts.connections.end_sessions({token_id: until.timestamp()})

    parts.session_revoked = session_revoked


def publish(batch: Batch) -> None:
    """Send a committed batch to all subscribers of this process, and to the other processes."""
    services().top10_cache.offer(batch)
    services().feed.offer(batch)
    services().socketio.server.manager.share(batch)


def subscribe_socket_io(app: Flask, session: engine.EngineSession) -> None:
    """Add a Socket.IO subscriber and send it the current top 10 first. May block for a read."""

    def add(subscribers: Subscribers) -> None:
        _send([subscribers.top10_update()], socket_io=[session])
        subscribers.socket_io.add(session)

    _subscribe(app, add)


def subscribe_websocket(app: Flask, websocket: Any) -> None:
    """Add a WebSocket subscriber and send it the current top 10 first. May block for a read."""

    def add(subscribers: Subscribers) -> None:
        _send([subscribers.top10_update()], websockets=[websocket])
        subscribers.websockets.add(websocket)

    _subscribe(app, add)


def _subscribe(app: Flask, add: Callable[[Subscribers], object]) -> None:
    with app.app_context():
        services(app).feed.subscribe(lambda: add(services(app).subscribers))


def unsubscribe(app: Flask, subscriber: Any) -> None:
    """Stop sending to a subscriber of either protocol."""
    services(app).subscribers.socket_io.discard(subscriber)
    services(app).subscribers.websockets.discard(subscriber)
