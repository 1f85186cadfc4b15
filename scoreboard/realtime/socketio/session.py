"""Engine.IO sessions with limits and without a task for each. See `engine.py`."""

import time
from typing import Any

from engineio import packet, payload
from engineio.exceptions import (
    ContentTooLongError,
    EngineIOError,
    QueueEmpty,
    SocketIsClosedError,
    UnknownPacketError,
)
from engineio.socket import Socket

from ..useless_traffic import UselessTraffic

FROM_CLIENTS = (packet.PONG, packet.MESSAGE, packet.UPGRADE, packet.CLOSE)


class EngineSession(Socket):
    """A session without a ping task: the maintenance of all connections pings it.

    `last_ping` is the time.monotonic of the unanswered ping, or None. `polling` is whether a poll
    is open.
    """

    last_ping: float | None
    useless: UselessTraffic
    polling = False

    def ping(self) -> None:
        """Send a ping unless one is unanswered."""
        if not self.closed and self.last_ping is None:
            self.last_ping = time.monotonic()
            self.send(packet.Packet(packet.PING))

    def schedule_ping(self) -> None:
        """Record that no ping is unanswered, where the library would start its ping task."""
        self.last_ping = None

    def check_ping_timeout(self) -> bool:
        """Close a session whose ping timed out; return False then. Raises SocketIsClosedError."""
        if self.closed:
            raise SocketIsClosedError
        asked_at = self.last_ping
        if asked_at is None or time.monotonic() - asked_at <= self.server.ping_timeout:
            return True
        self.close(wait=False, reason=self.server.reason.PING_TIMEOUT)
        return False

    def handle_post_request(self, environ: dict[str, Any]) -> None:
        """Handle the packets of a polling client: all of them, or none if one is malformed.

        Raises EngineIOError, which ends the session, for a malformed packet and for too many
        useless ones.
        """
        length = int(environ.get("CONTENT_LENGTH") or "0")
        if length > self.server.max_http_buffer_size:
            raise ContentTooLongError
        try:
            body = environ["wsgi.input"].read(length).decode()
            packets = payload.Payload(encoded_payload=body).packets
        except (ValueError, LookupError, RecursionError) as error:
            raise EngineIOError from error
        if any(each.packet_type not in FROM_CLIENTS or each.binary for each in packets):
            raise UnknownPacketError
        useless = (each for each in packets if each.packet_type != packet.MESSAGE)
        if any(self.useless.exceeds_limit(0) for _ in useless):
            raise EngineIOError
        for each in packets:
            self.receive(each)

    def poll(self) -> list[Any]:
        """Block until there are packets and return them, for one request at a time.

        Raises QueueEmpty for a second request, which ends the session as the protocol requires:
        https://socket.io/docs/v4/engine-io-protocol/#http-long-polling
        """
        if self.polling:
            raise QueueEmpty
        self.polling = True
        try:
            packets: list[Any] = super().poll()
        finally:
            self.polling = False
        return packets
