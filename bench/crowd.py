"""Thousands of viewers, read in one loop, that check what they receive.

All viewers of a server are sent the same frames after the current top 10, so most of them only keep
a running checksum of their bytes; pings, which each gets at times of its own, are answered and left
out. Some references, from the first connected to the last, are read message by message. A delivery
counts once all checksums equal those of the references.
"""

import select
import socket
import struct
import time
from zlib import crc32

from . import wire
from .kinds import SocketIo
from .load import DEADLINE, Lost

CONNECTING = 50  # viewers at the same time
CHUNK = 1 << 18
SO_TIMESTAMPNS = 35  # of Linux; Python has no name for it


class Viewer:
    """One viewer. What comes before the first update is read frame by frame, then as bytes."""

    def __init__(self, kind, port, token):
        self.kind, self._token = kind, token
        self.socket = socket.socket()
        self.socket.settimeout(30)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(kind.handshake(port, token))
        self.socket.setblocking(False)
        self.to_come = set(kind.welcome)
        self.length = self.checksum = 0
        self._buffer = bytearray()
        self._rest = b""  # the start of what may become a ping

    def start_again(self):
        """Forget what was received so far."""
        assert not self._rest, "half a ping"
        self.length = self.checksum = 0

    def read(self):
        """Read what has arrived."""
        self.take(self.received())

    def received(self):
        """Return the bytes that have arrived. Raises Lost if the server has closed."""
        try:
            data = self.socket.recv(CHUNK)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise Lost(f"a connection of a viewer failed: {error}") from None
        if not data:
            raise Lost("the server closed a viewer's connection")
        return data

    def take(self, data):
        """Add these bytes to the checksum, without the pings, which are answered."""
        if self.to_come:
            self._connecting(data)
            return
        if self._rest:
            data, self._rest = self._rest + data, b""
        ping = self.kind.ping
        if ping in data:
            data = data.replace(ping, b"")
            self.socket.send(self.kind.pong)
        for length in range(len(ping) - 1, 0, -1):
            if data.endswith(ping[:length]):
                data, self._rest = data[:-length], data[-length:]
                break
        self.length += len(data)
        self.checksum = crc32(data, self.checksum)
        self.keep(data)

    def keep(self, data):
        """Do nothing more with the bytes; a reference does."""

    def _connecting(self, data):
        self._buffer += data
        if self._buffer.startswith(b"HTTP/"):
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            wire.check_upgrade(self._buffer[:end])
            del self._buffer[: end + 4]
        for _, payload in wire.frames(self._buffer):
            if answer := self.kind.greet(payload, self._token):
                self.socket.send(wire.text_frame(answer))
            self.to_come -= {start for start in self.to_come if payload.startswith(start)}


class Reference(Viewer):
    """A viewer that keeps every message with the time of its arrival.

    The time is when the kernel had the bytes for this socket (`SO_TIMESTAMPNS`), so that it does
    not depend on how long we take to read other sockets. Messages that are read by one call have
    the time of the last.
    """

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._frames = bytearray()
        self._arrived = 0.0
        self.updates = []

    def received(self):
        data, ancillary, _, _ = self.socket.recvmsg(CHUNK, 64)
        if not data:
            raise Lost("the server closed a viewer's connection")
        self._arrived = time.time()
        for _, kind, value in ancillary:
            if kind == SO_TIMESTAMPNS:
                seconds, nanoseconds = struct.unpack("qq", value)
                self._arrived = seconds + nanoseconds / 1e9
        return data

    def keep(self, data):
        """Keep arrival and value of every `score_update`."""
        self._frames += data
        for _, payload in wire.frames(self._frames):
            message = self.kind.message(payload)
            if message["type"] == "score_update":
                self.updates.append((self._arrived, message["data"]["new_score"]))

    def start_again(self):
        super().start_again()
        self.updates = []


class Crowd:
    """Viewers of one server. Only `pump` reads what has arrived."""

    def __init__(self, subject, kind=SocketIo):
        self._subject, self._kind = subject, kind
        self._token = subject.viewer_token()
        self._poll = select.epoll()
        self._viewers = {}
        self.references = []

    def fileno(self):
        """Return what is readable when a viewer has something to read, for another poll."""
        return self._poll.fileno()

    def __len__(self):
        return len(self._viewers)

    def grow_to(self, count, references=5):
        """Connect more viewers until there are so many, the references spread among the new."""
        new = count - len(self)
        places = {round(i * (new - 1) / max(references - 1, 1)) for i in range(references)}
        place = 0
        while place < new:
            several = range(place, min(place + CONNECTING, new))
            joining = [self._connect(Reference if i in places else Viewer) for i in several]
            self._until(lambda new=joining: not any(viewer.to_come for viewer in new))
            place = several.stop
        self.start_again()

    def start_again(self):
        """Forget what all of them received so far."""
        for viewer in self._viewers.values():
            viewer.start_again()

    def pump(self, seconds, most=256):
        """Read from at most so many viewers that have something; wait so long for the first."""
        for number, _ in self._poll.poll(max(seconds, 0), most):
            self._viewers[number].read()

    def has(self, count):
        """Whether all viewers have these many updates, and exactly the same bytes."""
        complete = all(len(reference.updates) == count for reference in self.references)
        return complete and len({(v.length, v.checksum) for v in self._viewers.values()}) == 1

    def close(self):
        for viewer in self._viewers.values():
            viewer.socket.close()
        self._poll.close()

    def _connect(self, kind):
        viewer = kind(self._kind, self._subject.port, self._token)
        self._viewers[viewer.socket.fileno()] = viewer
        self._poll.register(viewer.socket, select.EPOLLIN)
        if kind is Reference:
            self.references.append(viewer)
        return viewer

    def _until(self, true):
        until = time.monotonic() + DEADLINE
        while not true():
            self.pump(0.02)
            if time.monotonic() > until:
                raise Lost("the viewers did not get everything in time")
