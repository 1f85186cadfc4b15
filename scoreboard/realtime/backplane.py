"""Share changes between processes through Socket.IO's message queue in Redis.

This is also the adapter of python-socketio: the only module that uses its private names, `_publish`
and `_handle_emit` of `PubSubManager`. Checked with python-socketio 5.18.1.
"""

import dataclasses
import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import orjson
import redis
import socketio

from ..concurrency import runtime
from ..db import redis_client
from ..leaderboard.top10 import LedgerChange
from ..observability.metrics import Metrics

log = logging.getLogger(__name__)

EVENT = "batch"
CHANNEL = "scoreboard"
# Timeout of Redis in seconds, to connect and to publish.
PUBLISH_TIMEOUT = 1
# Unpublished messages; the oldest are dropped, and other processes read them from the database.
MAX_WAITING_MESSAGES = 1000


class SubscribingManager:
    """Mixin for client managers that subscribes a client after its CONNECT packet is sent.

    The connect handler runs before that packet, and some clients accept no event before it.
    """

    server: Any

    def __init__(self, subscribe: Callable[[str], object], *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._subscribe = subscribe

    def basic_enter_room(
        self, sid: str, namespace: str, room: str | None, eio_sid: str | None = None
    ) -> None:
        """Add the client to a room, but create no room for the client alone.

        Nothing is sent to such rooms, and a leaving client would iterate over all of them.
        """
        if room != sid:
            super().basic_enter_room(sid, namespace, room, eio_sid)  # type: ignore[misc]

    def connect(self, sid: str, namespace: str) -> Any:
        """Mark the client as connected and subscribe it; disconnect it if that fails."""
        connected = super().connect(sid, namespace)  # type: ignore[misc]
        try:
            self._subscribe(sid)
        except Exception:
            log.exception("a client could not be subscribed")
            self.server.disconnect(sid)
        return connected


class LocalBackplane(SubscribingManager, socketio.Manager):
    """Local backplane: the manager of a single process without Redis."""

    def share(self, change: LedgerChange) -> None:
        """Do nothing: there is no other process."""


class RedisBackplane(SubscribingManager, socketio.RedisManager):
    """Redis backplane: a task publishes from a queue, so a Redis that hangs delays no caller."""

    def __init__(
        self,
        url: str,
        subscribe: Callable[[str], object],
        receive: Callable[[LedgerChange], object],
        metrics: Metrics,
    ) -> None:
        options = {"socket_connect_timeout": PUBLISH_TIMEOUT, "socket_keepalive": True}
        options |= redis_client.tls_options(url)
        super().__init__(subscribe, url, channel=CHANNEL, redis_options=options)
        self._receive, self._metrics = receive, metrics
        self._client = redis_client.connect(url, PUBLISH_TIMEOUT)
        self._waiting: deque[str] = deque(maxlen=MAX_WAITING_MESSAGES)
        self._added = threading.Semaphore(0)
        self._is_publishing = False

    def share(self, change: LedgerChange) -> None:
        """Queue the change for the other processes. Never blocks or raises."""
        # Without the arrival times, which are by this process's clock.
        data = [dataclasses.replace(change, received=[])]
        self._publish({"method": "emit", "event": EVENT, "data": data, "host_id": self.host_id})

    def _publish(self, data: dict[str, Any]) -> None:
        # Not `self.json`: converting the lists of nine boards for it takes ten times as long.
        self._waiting.append(orjson.dumps(data, default=tuple).decode())
        self._added.release()
        if not self._is_publishing:
            self._is_publishing = True
            runtime.spawn(self._publish_forever)

    def _publish_forever(self) -> None:
        is_working = True
        while True:
            self._added.acquire()
            try:
                self._client.publish(self.channel, self._waiting.popleft())
                is_working = True
            except IndexError:
                continue  # the message was dropped
            except redis.RedisError as error:
                self._metrics.redis_errors.inc()
                # The other processes read these changes from the database.
                self._waiting.clear()
                if is_working:
                    log.warning("Redis does not take messages: %s", type(error).__name__)
                is_working = False

    def _handle_emit(self, message: dict[str, Any]) -> None:
        if message["event"] == EVENT:
            self._receive(LedgerChange.from_json(message["data"][0]))
        else:
            super()._handle_emit(message)
