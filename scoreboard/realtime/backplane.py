"""Between processes: Socket.IO's own message queue carries the batches, over Redis."""

import dataclasses
import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import redis
import socketio

from ..concurrency import runtime as transport
from ..db import redis_client
from ..leaderboard.batch import Batch
from ..observability import metrics

log = logging.getLogger(__name__)

EVENT = "batch"
CHANNEL = "scoreboard"
# A Redis that takes longer than this to take a message is not there.
PUBLISH_SECONDS = 1
# More than this waiting and the others are better off reading the database.
MOST_WAITING = 1000


class Welcoming:
    """Part of a manager: whoever has been told that it is connected is then welcomed.

    In the connect handler itself it would be too early: the client has not been told yet, and
    some take no event before that.
    """

    server: Any

    def __init__(self, welcome: Callable[[str], object], *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._welcome = welcome

    def basic_enter_room(
        self, sid: str, namespace: str, room: str | None, eio_sid: str | None = None
    ) -> None:
        """Let the client into a room, but give it none of its own.

        Nobody sends there, and whoever leaves would walk through the rooms of all the others.
        """
        if room != sid:
            super().basic_enter_room(sid, namespace, room, eio_sid)  # type: ignore[misc]

    def connect(self, sid: str, namespace: str) -> Any:
        """Mark the client as connected and let it into the room."""
        connected = super().connect(sid, namespace)  # type: ignore[misc]
        try:
            self._welcome(sid)
        except Exception:
            log.exception("a viewer could not be welcomed")
            self.server.disconnect(sid)
        return connected


class Alone(Welcoming, socketio.Manager):
    """The manager of a process that has no Redis to share batches by."""

    def share(self, batch: Batch) -> None:
        """Do nothing: there is nobody to share with."""


class Messenger(Welcoming, socketio.RedisManager):
    """The manager of one process among several.

    What is published waits in a queue for a task of its own: a Redis that hangs delays nobody.
    """

    def __init__(
        self, url: str, welcome: Callable[[str], object], receive: Callable[[Batch], object]
    ) -> None:
        options = {"socket_connect_timeout": PUBLISH_SECONDS, "socket_keepalive": True}
        options |= redis_client.tls_options(url)
        super().__init__(welcome, url, channel=CHANNEL, redis_options=options)
        self._receive = receive
        self._client = redis_client.connect(url, PUBLISH_SECONDS)
        self._waiting: deque[str] = deque(maxlen=MOST_WAITING)
        self._news = threading.Semaphore(0)
        self._publishing = False
        self._initialized = False

    def initialize(self) -> None:
        """Start to listen, once; the library and the plain WebSocket both ask for it."""
        if not self._initialized:
            self._initialized = True
            super().initialize()

    def share(self, batch: Batch) -> None:
        """Send the batch to the other processes, some time soon. Never waits or fails."""
        data = {"method": "emit", "event": EVENT, "data": [_told(batch)]}
        self._publish({**data, "host_id": self.host_id})

    def _publish(self, data: dict[str, Any]) -> None:
        self._waiting.append(self.json.dumps(data))
        self._news.release()
        if not self._publishing:
            self._publishing = True
            transport.spawn(self._publish_forever)

    def _publish_forever(self) -> None:
        working = True
        while True:
            self._news.acquire()
            try:
                message = self._waiting.popleft()
            except IndexError:
                continue
            try:
                self._client.publish(self.channel, message)
                working = True
            except redis.RedisError as error:
                metrics.REDIS_ERRORS.inc()
                # What waited meanwhile is in the database, where the others have read it.
                self._waiting.clear()
                if working:
                    log.warning("Redis does not take messages: %s", type(error).__name__)
                working = False

    def _handle_emit(self, message: dict[str, Any]) -> None:
        if message["event"] == EVENT:
            self._receive(Batch(**message["data"][0]))
        else:
            super()._handle_emit(message)


def _told(batch: Batch) -> dict[str, Any]:
    """Return the batch as other processes are told it: our clock says nothing to them."""
    return dataclasses.asdict(dataclasses.replace(batch, received=[]))
