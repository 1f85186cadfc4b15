"""What the connections of a flood make of what they are sent."""

from bench import wire


def answered(flood, one, data):
    """Return status and body of the whole answers that have come, and count them by status."""
    one.buffer += data
    found = wire.answers(one.buffer)
    for status, _ in found:
        flood.counts[str(status)] += 1
    return found


def framed(one, data):
    """Return the payloads of the frames that have come, once the connection is a WebSocket.

    None as long as it is not: refused, or not answered yet.
    """
    one.buffer += data
    if not one.step:
        end = one.buffer.find(b"\r\n\r\n")
        if end < 0 or not one.buffer.startswith(b"HTTP/1.1 101"):
            return None
        del one.buffer[: end + 4]
        one.step = 1
    return [payload for _, payload in wire.frames(one.buffer)]
