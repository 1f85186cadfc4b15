"""Send board messages to subscribers: no other module does."""

import logging
import time
from collections.abc import Collection, Mapping
from typing import Any

from flask import Flask

from ..http.json import dumps
from ..leaderboard import top10
from ..leaderboard.top10 import BoardChange
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
        self.by_protocol: dict[str, set[Any]] = {SOCKET_IO: set(), WEBSOCKET: set()}
        self.top10: dict[str, Any] | None = None
        self.sent_at: float | None = None  # by time.monotonic

    def deliver(self, change: BoardChange) -> None:
        """Send the updates to all subscribers, and a changed top 10. Never blocks or raises."""
        messages = [{"type": "score_update", "data": update} for update in change.updates]
        if change.top10 != self.top10:
            self.top10 = change.top10
            messages.append(self.top10_update())
        if not messages:
            return
        try:
            _send(messages, self.by_protocol)
            self.sent_at = time.monotonic()
            for protocol, subscribers in self.by_protocol.items():
                self._metrics.deliveries.labels(protocol).inc(len(messages) * len(subscribers))
            self._metrics.count_pushed(change.received)
        except Exception:
            log.exception("a broadcast failed")

    def top10_update(self) -> dict[str, Any]:
        """Return the `top_10_update` message of the current top 10."""
        return {"type": "top_10_update", "data": self.top10}


def _send(messages: list[dict[str, Any]], by_protocol: Mapping[str, Collection[Any]]) -> None:
    """Send the messages, framed once for all subscribers of a protocol."""
    texts = [dumps(message).decode() for message in messages]
    if sessions := by_protocol.get(SOCKET_IO):
        packets = [
            engine.message(f'2["{message["type"]}",{text}]')
            for message, text in zip(messages, texts, strict=True)
        ]
        frames = engine.frames(packets)
        for session in list(sessions):
            session.push(frames, packets)
    if websockets := by_protocol.get(WEBSOCKET):
        frames = b"".join(map(text_frame, texts))
        for websocket in list(websockets):
            websocket.push(frames)


def init_app(app: Flask) -> None:
    """Create the application's subscribers, connections and feed."""
    parts = services(app)
    parts.subscribers = Subscribers(parts.metrics)
    parts.connections = Connections(app.config["CONNECTIONS_PER_ADDRESS"], parts.metrics)
    parts.feed = Feed(top10.since, parts.subscribers.deliver)

    parts.session_revoked = lambda token_id, issued_until: parts.connections.end_sessions(
        {token_id: issued_until.timestamp()}
    )


def publish(change: BoardChange) -> None:
    """Cache the top 10 of a committed change, send it to subscribers, then to other processes.

    Blocks while the feed reads the database.
    """
    services().top10_cache.offer(change)
    services().feed.offer(change)
    services().socketio.server.manager.share(change)


def subscribe(app: Flask, protocol: str, subscriber: Any) -> None:
    """Add an EngineSession or a WebSocket; send it the current top 10 first. May block."""
    subscribers = services(app).subscribers

    def add() -> None:
        _send([subscribers.top10_update()], {protocol: [subscriber]})
        subscribers.by_protocol[protocol].add(subscriber)

    with app.app_context():
        services(app).feed.subscribe(add)


def unsubscribe(app: Flask, subscriber: Any) -> None:
    """Stop sending to a subscriber of either protocol."""
    for subscribers in services(app).subscribers.by_protocol.values():
        subscribers.discard(subscriber)
