"""Encodes outgoing WebSocket frames."""


def text_frame(text: str) -> bytes:
    """Return the text as one frame. Servers do not mask, so all clients share the same bytes."""
    data = text.encode()
    length = len(data)
    if length < 126:
        return b"\x81" + length.to_bytes(1, "big") + data
    if length < 65536:
        return b"\x81\x7e" + length.to_bytes(2, "big") + data
    return b"\x81\x7f" + length.to_bytes(8, "big") + data
