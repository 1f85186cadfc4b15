"""Decode the Socket.IO packets that clients may send, and refuse all others."""

import re
from typing import Any

from socketio import packet

MAX_MESSAGE_SIZE = 64 * 1024
_EVENT = re.compile(r'2(\d{0,15})\["(update_score|subscribe|unsubscribe)",', re.ASCII)


class MalformedPacket(ValueError):
    """The client sent malformed data, or a packet of a type that clients may not send."""


class StrictPacket(packet.Packet):
    """A Socket.IO packet that decodes only CONNECT, DISCONNECT and plain EVENT packets.

    Binary events are refused: python-socketio keeps incomplete attachments in memory.
    """

    def decode(self, encoded_packet: Any) -> int:
        """Decode a packet and return its number of attachments, 0. Raises MalformedPacket."""
        try:
            super().decode(encoded_packet)
        except (ValueError, TypeError, IndexError, RecursionError) as error:
            self._decode_unreadable_event(encoded_packet, error)
        if self.packet_type not in (packet.CONNECT, packet.DISCONNECT, packet.EVENT):
            raise MalformedPacket("a packet of this type is not expected")
        if self.packet_type == packet.EVENT and not self._has_valid_name():
            raise MalformedPacket("the event has no name, or a reserved one")
        return 0

    def _has_valid_name(self) -> bool:
        """Whether the event has a name that python-socketio does not reserve."""
        named = isinstance(self.data, list) and self.data and isinstance(self.data[0], str)
        return bool(named) and self.data[0] not in ("connect", "disconnect")

    def _decode_unreadable_event(self, encoded_packet: Any, error: Exception) -> None:
        """Decode an event with an unreadable body as one without, so that it gets a response."""
        found = _EVENT.match(encoded_packet) if isinstance(encoded_packet, str) else None
        if not found:
            raise MalformedPacket("not a packet") from error
        self.packet_type, self.namespace = packet.EVENT, None
        self.id = int(found[1]) if found[1] else None
        self.data = [found[2], None]
