"""Thousands of viewers in one loop that verify the messages they receive.

After the current top 10, all viewers of a server get the same frames. So most of them only keep a
checksum of their bytes, without pings, which arrive at different times and are answered. A few
reference viewers, spread from the first connected to the last, parse each message. A delivery
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

CONNECTING = 50  # viewers that connect at the same time
CHUNK = 1 << 18
SO_TIMESTAMPNS = 35  # Linux; Python has no constant for it


class Viewer:
    """One viewer. Parses frames until it is connected, then only reads bytes."""

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
        self._rest = b""  # the possible start of a ping

    def start_again(self):
        """Reset the length and the checksum."""
        assert not self._rest, "half a ping"
        self.length = self.checksum = 0

    def read(self):
        """Read and process the bytes that have arrived."""
        self.take(self.received())

    def received(self):
        """Return the bytes that have arrived. Raises Lost if the connection is closed."""
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
        """Answer and remove pings, and add the other bytes to the checksum."""
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
        """Do nothing with the bytes. `Reference` overrides this."""

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
    """A viewer that keeps the value and arrival time of every `score_update`.

    The time is when the kernel received the bytes (`SO_TIMESTAMPNS`), so it does not depend on how
    long this process takes to read other sockets. Messages read by one call get the time of the
    last one.
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
        """Keep the arrival time and value of every `score_update`."""
        self._frames += data
        for _, payload in wire.frames(self._frames):
            message = self.kind.message(payload)
            if message["type"] == "score_update":
                self.updates.append((self._arrived, message["data"]["new_score"]))

    def start_again(self):
        super().start_again()
        self.updates = []


class Crowd:
    """Viewers of one server. Only `pump` reads from their sockets."""

    def __init__(self, subject, kind=SocketIo):
        self._subject, self._kind = subject, kind
        self._token = subject.viewer_token()
        self._poll = select.epoll()
        self._viewers = {}
        self.references = []

    def fileno(self):
        """Return a descriptor that is readable when any viewer is, for another poll."""
        return self._poll.fileno()

    def __len__(self):
        return len(self._viewers)

    def grow_to(self, count, references=5):
        """Connect viewers until there are `count`, with references spread among the new ones."""
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
        """Reset the counts and checksums of all viewers."""
        for viewer in self._viewers.values():
            viewer.start_again()

    def pump(self, seconds, most=256):
        """Read from up to `most` readable viewers; wait up to `seconds` for the first."""
        for number, _ in self._poll.poll(max(seconds, 0), most):
            self._viewers[number].read()

    def has(self, count):
        """Whether all viewers have `count` updates and exactly the same bytes."""
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
