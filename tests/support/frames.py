"""WebSocket frames as bytes."""

import json


def texts(frames):
    """Yield the messages in consecutive unmasked text frames (RFC 6455, section 5.2)."""
    while frames:
        assert frames[0] == 0x81
        length, start = frames[1], 2
        if length == 126:
            length, start = int.from_bytes(frames[2:4], "big"), 4
        yield json.loads(frames[start : start + length])
        frames = frames[start + length :]
