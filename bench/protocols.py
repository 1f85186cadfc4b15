"""The protocols of subscribers: Socket.IO and plain WebSocket."""

import json

from . import wire


class SocketIo:
    """A Socket.IO subscriber, which authenticates with a packet."""

    path = "/ws/scoreboard/?EIO=4&transport=websocket"
    # No message can contain these bytes, since they are not valid UTF-8.
    ping, pong = b"\x81\x012", wire.text_frame(b"3")
    # Messages that complete the connection; some servers send them in the other order.
    first_messages = (b"40", b'42["top_10_update"')

    @staticmethod
    def handshake(port, token):
        return wire.upgrade(SocketIo.path, port)

    @staticmethod
    def connect_packet(token):
        """Return the frame that authenticates, sent after the server's first packet."""
        return wire.text_frame(b"40" + json.dumps({"token": token}).encode())

    @staticmethod
    def message(payload):
        return json.loads(payload[2:])[1]


class Plain:
    """A plain WebSocket subscriber, which authenticates in the handshake."""

    @staticmethod
    def handshake(port, token):
        return wire.upgrade("/ws/scoreboard", port, token)
