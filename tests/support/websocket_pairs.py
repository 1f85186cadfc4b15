"""A WebSocket of the server and the socket of its client, on eventlet or threads.

The buffer between them is small, so that the server has to send in parts.
"""

import itertools
import queue
import socket
import threading
from types import SimpleNamespace

from eventlet import patcher

from scoreboard.concurrency import runtime
from scoreboard.realtime.websocket.connection import WebSocket

TIMEOUT = 10  # seconds


class Pair:
    """A WebSocket that the server reads and writes, and a client controlled by the test."""

    def __init__(self):
        server, self.client = socket.socketpair()
        server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        self.client.settimeout(TIMEOUT)
        self.server, _ = runtime.detach_socket(_request(server), seconds=30)
        self.websocket = WebSocket(self.server, max_message_size=100)
        self._received = queue.Queue()
        self.websocket.on_message = self._received.put
        self.ended = threading.Event()
        runtime.spawn(self._watch)

    def _watch(self):
        runtime.watch(self.server, self.websocket.take, self._end)
        if not runtime.ON_EVENTLET:
            self.server.close()  # as the server of `flask run` does

    def _end(self):
        self.websocket.end()
        self._received.put(None)
        self.ended.set()

    def wait(self):
        """Return the next message, or None after the end."""
        return self._received.get(timeout=TIMEOUT)

    def send(self, opcode, payload=b"", final=True):
        """Send a masked frame, with a mask of zeros."""
        head = bytes([opcode | (0x80 if final else 0), 0x80 | len(payload)])
        self.client.sendall(head + bytes(4) + payload)

    def frames(self):
        """Yield opcode and payload of every frame. Fails if the end is within a frame."""
        while head := self._read(2, or_end=True):
            assert head[0] & 0x70 == 0, "no extension was negotiated"
            assert head[0] & 0x80, "the server does not fragment messages"
            assert not head[1] & 0x80, "the server does not mask"
            length = head[1]
            if length == 126:
                length = int.from_bytes(self._read(2), "big")
                assert length > 125
            elif length == 127:
                length = int.from_bytes(self._read(8), "big")
                assert length > 65535
            yield head[0] & 0x0F, self._read(length)

    def take_frames(self, count):
        """Return the next frames."""
        return list(itertools.islice(self.frames(), count))

    def frames_until_close(self):
        """Return the texts before the close frame and its code, after a response to it."""
        texts = []
        for opcode, payload in self.frames():
            if opcode == 8:
                self.send(8, payload[:2])
                assert not list(self.frames()), "a frame after the close frame"
                return texts, int.from_bytes(payload[:2], "big")
            assert opcode == 1
            texts.append(payload)
        raise AssertionError("closed without a close frame")

    def _read(self, length, or_end=False):
        found = b""
        while len(found) < length:
            part = self.client.recv(length - len(found))
            if not part and or_end and not found:
                return b""
            assert part, "closed within a frame"
            found += part
        return found

    def close(self):
        """Close the client and wait for the server's end."""
        self.client.close()
        self.ended.wait(TIMEOUT)


def _request(server):
    """Return the WSGI environment of a request on this socket."""
    if runtime.ON_EVENTLET:
        unpatched = patcher.original("socket").socket(fileno=server.fd.detach())
        unpatched.setblocking(False)
        return {"scoreboard.connection": SimpleNamespace(detach=lambda: (unpatched, b""))}
    return {"werkzeug.socket": server}
