"""Encode and parse HTTP and WebSocket: a library would make the load slower than the servers."""

import struct


class MeasurementFailed(Exception):
    """The server failed a request or closed a connection, so there is no valid measurement."""


def request(method, path, port, token, body=b""):
    """Return an HTTP/1.1 request; the connection is kept open."""
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n"
    )
    if method == "POST":
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


def responses(buffer):
    """Remove complete responses from the buffer; return status and body of each."""
    found = []
    while (end := buffer.find(b"\r\n\r\n")) >= 0:
        head = bytes(buffer[:end]).lower()
        length = int(head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0])
        whole = end + 4 + length
        if len(buffer) < whole:
            break
        found.append((int(head[9:12]), bytes(buffer[end + 4 : whole])))
        del buffer[:whole]
    return found


def text_frame(payload):
    """Return the payload as one masked text frame."""
    if len(payload) < 126:
        head = bytes((0x81, 0x80 | len(payload)))
    else:
        head = struct.pack(">BBH", 0x81, 0x80 | 126, len(payload))
    return head + bytes(4) + payload  # a mask of zeros leaves the payload unchanged


def frames(buffer):
    """Remove complete frames from the buffer; return the payload of each."""
    found, at = [], 0
    while len(buffer) >= at + 2:
        length, start = buffer[at + 1], at + 2
        if length >= 126:
            size = 2 if length == 126 else 8
            if len(buffer) < start + size:
                break
            length = int.from_bytes(buffer[start : start + size])
            start += size
        if len(buffer) < start + length:
            break
        found.append(bytes(buffer[start : start + length]))
        at = start + length
    del buffer[:at]
    return found
