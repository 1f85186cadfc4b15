"""A session of python-engineio's, with bounds, and without a task of its own. See `engine.py`."""

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
    """A session without a task of its own: our sweep asks it for signs of life.

    `last_ping` is when that was, by time.monotonic, and None once it is answered.
    """

    last_ping: float | None
    useless: UselessTraffic
    polling = False

    def ping(self) -> None:
        """Ask the client for a sign of life, if it still owes none."""
        if not self.closed and self.last_ping is None:
            self.last_ping = time.monotonic()
            self.send(packet.Packet(packet.PING))

    def schedule_ping(self) -> None:
        """Take note of a sign of life."""
        self.last_ping = None

    def check_ping_timeout(self) -> bool:
        """Whether the client is still there; one that is not is closed."""
        if self.closed:
            raise SocketIsClosedError
        asked_at = self.last_ping
        if asked_at is None or time.monotonic() - asked_at <= self.server.ping_timeout:
            return True
        self.close(wait=False, reason=self.server.reason.PING_TIMEOUT)
        return False

    def handle_post_request(self, environ: dict[str, Any]) -> None:
        """Take the packets of a client that polls: all of them or, if one is none, not any.

        Raises EngineIOError, which ends the session, for that and for too many that say nothing.
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
        """Wait for packets, for one request at a time.

        Raises QueueEmpty for a second one, which ends the session, as the protocol has it:
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
