"""What Engine.IO and Socket.IO read from a client, with everything we never use refused."""

import re
from collections.abc import Iterable
from typing import Any

from socketio import packet

from . import transport, websocket

LONGEST_MESSAGE = 64 * 1024
_UPDATE = re.compile(r'2(\d{0,15})\["update_score",', re.ASCII)


class MalformedPacket(ValueError):
    """The client sent something that is not a packet it may send."""


class StrictPacket(packet.Packet):
    """A Socket.IO packet; from a client only to connect, to disconnect, or with a plain event.

    Binary events are refused: nothing here takes one, and their attachments are kept in memory
    until the last has come.
    """

    def decode(self, encoded_packet: Any) -> int:
        """Decode a packet. Raises MalformedPacket for anything a client has no reason to send."""
        try:
            attachments = super().decode(encoded_packet)
        except (ValueError, TypeError, IndexError, RecursionError) as error:
            attachments = self._decode_unreadable_update(encoded_packet, error)
        if self.packet_type not in (packet.CONNECT, packet.DISCONNECT, packet.EVENT):
            raise MalformedPacket("a packet of this type is not expected")
        if self.packet_type == packet.EVENT and not self._is_named():
            raise MalformedPacket("an event without a name of its own")
        return int(attachments or 0)

    def _is_named(self) -> bool:
        """Whether the event has a name, and none that the library keeps for itself."""
        named = isinstance(self.data, list) and self.data and isinstance(self.data[0], str)
        return bool(named) and self.data[0] not in ("connect", "disconnect")

    def _decode_unreadable_update(self, encoded_packet: Any, error: Exception) -> int:
        """Make an update of a body that cannot be read one without a body, to be answered so."""
        found = _UPDATE.match(encoded_packet) if isinstance(encoded_packet, str) else None
        if not found:
            raise MalformedPacket("not a packet") from error
        self.packet_type, self.namespace = packet.EVENT, None
        self.id = int(found[1]) if found[1] else None
        self.data = ["update_score", None]
        return 0


class EngineWebSocket:
    """The WebSocket driver that Engine.IO is given, in the form that it asks for."""

    def __init__(self, handler: Any, server: Any) -> None:
        self._handler = handler
        self._engine_socket = handler.__self__

    def __call__(self, environ: transport.WsgiEnvironment, start_response: Any) -> Iterable[bytes]:
        """Serve one connection until it ends."""
        return websocket.serve(environ, start_response, self._run, LONGEST_MESSAGE)

    def _run(self, opened: websocket.WebSocket) -> None:
        """Run the library's handler; a session upgrades once, and to one WebSocket only."""
        if self._engine_socket.closed or hasattr(self._engine_socket, "websocket"):
            opened.close(websocket.PROTOCOL_ERROR, "no session to upgrade")
            return
        self._engine_socket.websocket = opened
        self._handler(_Checked(opened))


class _Checked:
    """A WebSocket that ends at the first message which is no Engine.IO packet.

    Engine.IO would fail with a traceback instead, and leave the connection half open.
    """

    def __init__(self, opened: websocket.WebSocket) -> None:
        self._opened = opened
        self.send = opened.send
        self.close = opened.close

    def wait(self) -> str | None:
        """Return the next packet in text, or None at the end."""
        message = self._opened.wait()
        if message is None or (isinstance(message, str) and message[:1] in tuple("0123456")):
            return message or None
        self._opened.close(websocket.PROTOCOL_ERROR, "not an Engine.IO packet")
        return None
