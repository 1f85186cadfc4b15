"""What Engine.IO and Socket.IO read from a client, with everything we never use refused."""

from collections.abc import Iterable
from typing import Any

from socketio import packet

from . import transport, websocket

LONGEST_MESSAGE = 64 * 1024


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
            raise MalformedPacket("not a packet") from error
        if self.packet_type not in (packet.CONNECT, packet.DISCONNECT, packet.EVENT):
            raise MalformedPacket("a packet of this type is not expected")
        named = isinstance(self.data, list) and self.data and isinstance(self.data[0], str)
        if self.packet_type == packet.EVENT and not named:
            raise MalformedPacket("an event without a name")
        return int(attachments or 0)


class EngineWebSocket:
    """The WebSocket driver that Engine.IO is given, in the form that it asks for."""

    def __init__(self, handler: Any, server: Any) -> None:
        self._handler = handler
        self._engine_socket = handler.__self__

    def __call__(self, environ: transport.WsgiEnvironment, start_response: Any) -> Iterable[bytes]:
        """Serve one connection until it ends."""
        return websocket.serve(environ, start_response, self._run, LONGEST_MESSAGE)

    def _run(self, opened: websocket.WebSocket) -> None:
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
