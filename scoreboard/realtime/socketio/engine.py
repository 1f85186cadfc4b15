"""Adapter of python-engineio: sessions that write to their WebSocket without a queue or a task.

The library gives every client a queue and a task that empties it: 30 µs of CPU per message and
client, and two stacks per client. Here a broadcast is framed once for all clients and written at
once; only polling clients use the library's queue. The library's own WebSocket drivers negotiate
compression with every browser and keep a compressor for each; one limits the size of a frame but
not of a message, the other loses bytes that the kernel does not accept at once.

Checked with python-engineio 4.15.1. Private names, used in this module only:
`Socket._upgrade_websocket`, `Server._bad_request`, `Server._method_not_found` and
`Server._unauthorized`. Undocumented attributes: `queue`, `last_ping`, `connected`, `upgrading`,
`upgraded`, `closing` and `closed` of a `Socket`, `sockets` and `handlers` of a `Server`.
"""

import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from queue import Empty
from typing import Any
from wsgiref.types import WSGIEnvironment

from engineio import packet, payload
from engineio.exceptions import ContentTooLongError, EngineIOError, QueueEmpty, UnknownPacketError
from engineio.packet import Packet
from engineio.socket import Socket

from ...concurrency import runtime
from ...errors import UpgradeRequired
from ..useless_traffic import UselessTraffic
from ..websocket.connection import PROTOCOL_ERROR, WebSocket, is_handshake, serve, text_frame
from . import refusals
from .packets import MAX_MESSAGE_SIZE

CLIENT_PACKETS = (packet.PONG, packet.MESSAGE, packet.UPGRADE, packet.CLOSE)


def install(engine: Any) -> None:
    """Give this Engine.IO server our error shape."""
    engine._bad_request = refusals.bad_request
    engine._method_not_found = refusals.method_not_allowed
    engine._unauthorized = refusals.refusal


def message(text: str) -> Packet:
    """Return the Engine.IO packet that contains an encoded Socket.IO packet."""
    return Packet(packet.MESSAGE, text)


def frames(packets: Sequence[Packet]) -> bytes:
    """Return the packets as WebSocket frames, one frame per packet."""
    return b"".join(text_frame(each.encode()) for each in packets)


class EngineSession(Socket):
    """An Engine.IO session: polling until it has a WebSocket, and without a ping task.

    `last_ping` is the time.monotonic of the unanswered ping, or None. `is_polling` is whether a
    poll is waiting, `is_probed` whether the client has tested its WebSocket for the upgrade.
    """

    queue: Any
    connected: bool
    last_ping: float | None
    websocket: WebSocket | None = None
    is_polling = is_probed = False

    @staticmethod
    def adopt(
        socket: Any, on_slow: Callable[[], object], is_stopping: Callable[[], bool]
    ) -> "EngineSession":
        """Make the library's session an `EngineSession`.

        A slow client calls `on_slow`; `is_stopping()` is whether the server accepts no connections.
        """
        socket.__class__ = EngineSession
        socket.lock, socket.on_slow, socket.is_stopping = runtime.lock(), on_slow, is_stopping
        socket.last_ping, socket.useless = None, UselessTraffic()
        return socket

    def push(self, frames: bytes, packets: Iterable[Packet]) -> None:
        """Send packets, given also as WebSocket frames. Keeps their order and never blocks."""
        with self.lock:
            if self.upgraded and self.websocket:
                self.websocket.push(frames)
            else:
                for each in packets:
                    self.queue.put(each)

    def send(self, pkt: Packet) -> None:
        """Send a packet, unless the session has ended or an unanswered ping ends it now."""
        if self.check_ping_timeout():
            self.push(frames([pkt]), [pkt])

    def close(self, wait: bool = True, abort: bool = False, reason: str | None = None) -> None:
        """End the session and close its WebSocket. Never blocks."""
        super().close(wait=False, abort=abort, reason=reason)
        if self.closed and self.websocket:
            self.websocket.close()

    def ping(self) -> None:
        """Send a ping unless one is unanswered."""
        if self.last_ping is None:
            self.last_ping = time.monotonic()
            self.send(Packet(packet.PING))

    def schedule_ping(self) -> None:
        """Record that no ping is unanswered, where the library would start its ping task."""
        self.last_ping = None

    def check_ping_timeout(self) -> bool:
        """Close a session whose ping timed out. Return whether it is still open."""
        pinged_at = self.last_ping
        if pinged_at is not None and time.monotonic() - pinged_at > self.server.ping_timeout:
            self.close(reason=self.server.reason.PING_TIMEOUT)
            return False
        return not self.closed

    def handle_post_request(self, environ: dict[str, Any]) -> None:
        """Handle the packets of a polling client: all, or none if one is malformed.

        Raises EngineIOError, which ends the session, also for too many useless packets.
        """
        length = int(environ.get("CONTENT_LENGTH") or "0")
        if length > self.server.max_http_buffer_size:
            raise ContentTooLongError
        try:
            body = environ["wsgi.input"].read(length).decode()
            packets = payload.Payload(encoded_payload=body).packets
        except (ValueError, LookupError, RecursionError) as error:
            raise EngineIOError from error
        if any(each.packet_type not in CLIENT_PACKETS or each.binary for each in packets):
            raise UnknownPacketError
        useless = [each for each in packets if each.packet_type != packet.MESSAGE]
        if any(self.useless.exceeds_limit(0) for _ in useless):
            raise EngineIOError
        for each in packets:
            self.receive(each)

    @property
    def awaits_poll(self) -> bool:
        """Whether packets wait for the client's next poll."""
        return not self.is_polling and self.queue.qsize() > 0

    def poll(self) -> list[Packet]:
        """Block until there are packets and return them. Raises QueueEmpty for a second request.

        That ends the session, as the protocol requires:
        https://socket.io/docs/v4/engine-io-protocol/#http-long-polling
        While the server stops, blocks until the session has ended.
        """
        if self.is_polling:
            raise QueueEmpty
        self.is_polling = True
        try:
            packets: list[Packet] = super().poll()
            # The response closes the connection. A client that cannot open another one would lose
            # the acknowledgements of updates that are still in progress.
            while self.is_stopping() and not (self.closed or self.upgraded):
                packets += super().poll()
            return packets
        finally:
            self.is_polling = False

    def _upgrade_websocket(self, environ: WSGIEnvironment, start_response: Any) -> Any:
        if not is_handshake(environ):
            return refusals.refusal(UpgradeRequired())
        return serve(environ, self.open_websocket, MAX_MESSAGE_SIZE)

    def open_websocket(self, opened: WebSocket) -> None:
        """Use this WebSocket; close it if the session has ended or has one already."""
        if self.closing or self.websocket:
            opened.close(PROTOCOL_ERROR, "no session to upgrade")
            return
        self.websocket = opened
        opened.on_message = lambda text: self._receive_text(opened, text)
        opened.on_end, opened.on_slow = self._end_transport, self.on_slow
        if not self.connected:
            self.connected = True
            self._attach(opened)

    def _attach(self, opened: WebSocket) -> None:
        """Write the queued packets to the WebSocket, and all later packets too."""
        with self.lock:
            queue, self.queue = self.queue, _NO_QUEUE
            with contextlib.suppress(Empty):
                while queued := queue.get(block=False):
                    opened.push(frames([queued]))
            self.upgraded, self.upgrading = True, False
            # Ends a poll that should have ended before the upgrade and would keep waiting.
            queue.put(Packet(packet.NOOP))

    def _receive_text(self, opened: WebSocket, text: str | bytes) -> None:
        """Handle a packet. A packet that Engine.IO could not read closes the connection."""
        if not isinstance(text, str) or not text or text[0] not in "0123456":
            opened.close(PROTOCOL_ERROR, "not an Engine.IO packet")
        elif not self.upgraded:
            self._upgrade(opened, text)
        else:
            if text[0] != "4":
                opened.count_useless_frame(text)
            with contextlib.suppress(UnknownPacketError):
                self.receive(Packet(int(text[0]), text[1:]))

    def _upgrade(self, opened: WebSocket, text: str) -> None:
        """Upgrade from polling: respond to the client's probe, attach on its upgrade packet."""
        if text == "2probe" and not self.is_probed:
            self.is_probed = self.upgrading = True
            opened.push(text_frame("3probe"))
            self.queue.put(Packet(packet.NOOP))
        elif text == "5" and self.is_probed:
            self._attach(opened)
        else:
            opened.close(PROTOCOL_ERROR, "not an upgrade")

    def _end_transport(self) -> None:
        if self.upgraded:
            self.close(abort=True, reason=self.server.reason.TRANSPORT_CLOSE)
            self.server.sockets.pop(self.sid, None)
        self.upgrading = False


class _NoQueue:
    """Replaces the queue of a session with a WebSocket, to release its 2 to 4 KB of memory."""

    def put(self, _: Packet | None) -> None:
        """Do nothing: a session with a WebSocket sends without a queue."""

    def get(self, block: bool = True, timeout: float | None = None) -> Packet:
        """Raise Empty: a poll after the upgrade finds nothing."""
        raise Empty

    def qsize(self) -> int:
        """Return 0."""
        return 0


_NO_QUEUE = _NoQueue()
