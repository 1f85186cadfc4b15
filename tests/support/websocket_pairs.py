"""A WebSocket of the server and the bare socket of its client, on whichever server runs here.

The buffer between the two is so small that little of what is sent is taken at once.
"""

import itertools
import queue
import socket
import threading
from types import SimpleNamespace

from eventlet import patcher

from scoreboard.concurrency import runtime
from scoreboard.realtime.websocket.connection import WebSocket

SECONDS = 10


class Pair:
    """A server's WebSocket, watched as those of viewers are, and a client that is played."""

    def __init__(self):
        server, self.client = socket.socketpair()
        server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        self.client.settimeout(SECONDS)
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
        """Return the next message, or None when there will be no more."""
        return self._received.get(timeout=SECONDS)

    def send(self, opcode, payload=b"", final=True):
        """Send a masked frame, with a mask of zeros."""
        head = bytes([opcode | (0x80 if final else 0), 0x80 | len(payload)])
        self.client.sendall(head + bytes(4) + payload)

    def frames(self):
        """Yield opcode and payload of every frame until the end, which must be between two."""
        while head := self._read(2, or_end=True):
            assert head[0] & 0x70 == 0, "no extension was agreed on"
            assert head[0] & 0x80, "no message of ours is in parts"
            assert not head[1] & 0x80, "a server does not mask"
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
        """Return the texts up to the frame that closes, and its code, having answered it."""
        texts = []
        for opcode, payload in self.frames():
            if opcode == 8:
                self.send(8, payload[:2])
                assert not list(self.frames()), "nothing may follow a close"
                return texts, int.from_bytes(payload[:2], "big")
            assert opcode == 1
            texts.append(payload)
        raise AssertionError("ended without a close")

    def _read(self, length, or_end=False):
        found = b""
        while len(found) < length:
            part = self.client.recv(length - len(found))
            if not part and or_end and not found:
                return b""
            assert part, "cut in the middle of a frame"
            found += part
        return found

    def close(self):
        """Let go of both ends."""
        self.client.close()
        self.ended.wait(SECONDS)


def _request(server):
    """Return a request that has come in by this socket, as far as it matters."""
    if runtime.ON_EVENTLET:
        plain = patcher.original("socket").socket(fileno=server.fd.detach())
        plain.setblocking(False)
        return {"scoreboard.connection": SimpleNamespace(detach=lambda: (plain, b""))}
    return {"werkzeug.socket": server}
