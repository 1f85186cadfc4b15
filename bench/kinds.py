"""How viewers of either kind connect, stay and are told."""

import json

from . import wire


class SocketIo:
    """How a Socket.IO viewer connects and stays."""

    path = "/ws/scoreboard/?EIO=4&transport=websocket"
    # As bytes they are unmistakable: no text of ours has a byte above 127 in it.
    ping, pong = b"\x81\x012", wire.text_frame(b"3")

    @staticmethod
    def handshake(port, token):
        return wire.upgrade(SocketIo.path, port)

    @staticmethod
    def greet(payload, token):
        """Return what to answer to a payload before the welcome."""
        return b"40" + json.dumps({"token": token}).encode() if payload[:1] == b"0" else b""

    # The stock way sends them in the other order, so both are waited for.
    welcome = (b"40", b'42["top_10_update"')

    @staticmethod
    def message(payload):
        return json.loads(payload[2:])[1]


class Plain:
    """How a plain WebSocket viewer connects and stays."""

    path = "/ws/scoreboard"
    ping, pong = b"\x89\x00", b"\x8a\x80\x00\x00\x00\x00"

    @staticmethod
    def handshake(port, token):
        return wire.upgrade(Plain.path, port, token)

    @staticmethod
    def greet(payload, token):
        return b""

    welcome = (b'{"type":"top_10_update"',)

    message = staticmethod(json.loads)
