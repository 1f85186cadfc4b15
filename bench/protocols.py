"""The protocols of subscribers: Socket.IO and plain WebSocket."""

import json

from . import wire


class SocketIo:
    """The protocol of a Socket.IO subscriber."""

    path = "/ws/scoreboard/?EIO=4&transport=websocket"
    # No message can contain these bytes, since they are not valid UTF-8.
    ping, pong = b"\x81\x012", wire.text_frame(b"3")

    @staticmethod
    def handshake(port, token):
        return wire.upgrade(SocketIo.path, port)

    @staticmethod
    def reply(payload, token):
        """Return the response to a payload that arrives before the top 10."""
        return b"40" + json.dumps({"token": token}).encode() if payload[:1] == b"0" else b""

    # Messages that complete the connection; some servers send them in the other order.
    first_messages = (b"40", b'42["top_10_update"')

    @staticmethod
    def message(payload):
        return json.loads(payload[2:])[1]


class Plain:
    """The protocol of a plain WebSocket subscriber."""

    path = "/ws/scoreboard"
    ping, pong = b"\x89\x00", b"\x8a\x80\x00\x00\x00\x00"

    @staticmethod
    def handshake(port, token):
        return wire.upgrade(Plain.path, port, token)

    @staticmethod
    def reply(payload, token):
        return b""

    first_messages = (b'{"type":"top_10_update"',)

    message = staticmethod(json.loads)
