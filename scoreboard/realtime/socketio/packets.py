"""What Engine.IO and Socket.IO read from a client, with everything we never use refused."""

import re
from typing import Any

from socketio import packet

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
