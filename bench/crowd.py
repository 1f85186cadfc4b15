"""Viewers by the thousand, read in one loop, that check what they get.

All viewers of a server are sent the same frames after their welcome, so most of them only keep a
running checksum of their bytes; pings, which come to each at times of its own, are answered and
left out. Some references, from the first connected to the last, are read message by message. A
delivery counts once the checksums of all agree with the references'.
"""

import select
import socket
import struct
import time
from zlib import crc32

from . import wire
from .kinds import SocketIo
from .load import DEADLINE, Lost

AT_A_TIME = 50
CHUNK = 1 << 18
SO_TIMESTAMPNS = 35  # of Linux; Python has no name for it


class Viewer:
    """One viewer; until its welcome it is read frame by frame, then as bytes."""

    def __init__(self, kind, port, token, receive_buffer=0):
        self.kind, self._token = kind, token
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(30)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(kind.handshake(port, token))
        self.socket.setblocking(False)
        self.to_come = set(kind.welcome)
        self.length = self.checksum = 0
        self._buffer = bytearray()
        self._rest = b""  # the start of what may become a ping
        self._inflate = None

    def start_again(self):
        """Forget what was received so far."""
        assert not self._rest, "half a ping"
        self.length = self.checksum = 0

    def read(self):
        """Take in what has arrived."""
        self.take(self.received())

    def received(self):
        """Return the bytes that have arrived. Raises Lost if the server hung up."""
        try:
            data = self.socket.recv(CHUNK)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise Lost(f"a viewer was cut off: {error}") from None
        if not data:
            raise Lost("a viewer was hung up on")
        return data

    def take(self, data):
        """Count these bytes, without the pings, which are answered."""
        if self.to_come:
            self._before_the_welcome(data)
            return
        if self._inflate:
            data = self._inflated(data)
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

    def _inflated(self, data):
        """Return the bytes as a server that does not compress would have sent them.

        Compressed, they are not the same for all: what went before, such as the name of the
        session, goes into them.
        """
        self._buffer += data
        payloads = [payload for _, payload in wire.frames(self._buffer, self._inflate)]
        return b"".join(map(wire.frame_of_a_server, payloads))

    def keep(self, data):
        """Do nothing with the bytes but count them: what a reference does more."""

    def _before_the_welcome(self, data):
        self._buffer += data
        if self._buffer.startswith(b"HTTP/"):
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            if not self._buffer.startswith(b"HTTP/1.1 101"):
                raise Lost(f"a viewer was refused: {bytes(self._buffer[:300])}")
            self._inflate = wire.inflater(self._buffer[:end])
            del self._buffer[: end + 4]
        for _, payload in wire.frames(self._buffer, self._inflate):
            if answer := self.kind.greet(payload, self._token):
                self.socket.send(wire.text_frame(answer))
            self.to_come -= {start for start in self.to_come if payload.startswith(start)}


class Reference(Viewer):
    """A viewer that keeps every message with the time of its arrival.

    The time is the kernel's, of when it had the bytes for this socket (`SO_TIMESTAMPNS`): how busy
    we are with reading other sockets is not the server's doing. Of what is read at once, everything
    has the time of the last.
    """

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._frames = bytearray()
        self._arrived = 0.0
        self.messages = 0
        self.updates = []

    def received(self):
        data, told, _, _ = self.socket.recvmsg(CHUNK, 64)
        if not data:
            raise Lost("a viewer was hung up on")
        self._arrived = time.time()
        for _, kind, value in told:
            if kind == SO_TIMESTAMPNS:
                seconds, nanoseconds = struct.unpack("qq", value)
                self._arrived = seconds + nanoseconds / 1e9
        return data

    def keep(self, data):
        """Note arrival and value of every `score_update`, and how many messages there were."""
        self._frames += data
        for _, payload in wire.frames(self._frames):
            message = self.kind.message(payload)
            self.messages += 1
            if message["type"] == "score_update":
                self.updates.append((self._arrived, message["data"]["new_score"]))

    def start_again(self):
        super().start_again()
        self.messages = 0
        self.updates = []


class Crowd:
    """Viewers of one server. `pump` reads whatever has arrived; nothing else does."""

    def __init__(self, subject, kind=SocketIo):
        self._subject, self._kind = subject, kind
        self._token = subject.viewer_token()
        self._poll = select.epoll()
        self._viewers = {}
        self._silent = []
        self.references = []

    def fileno(self):
        """Return what is readable when a viewer has something: for a poll of somebody else's."""
        return self._poll.fileno()

    def __len__(self):
        return len(self._viewers)

    def grow_to(self, count, references=5):
        """Connect more viewers until there are so many, the references spread among the new."""
        new = count - len(self)
        places = {round(i * (new - 1) / max(references - 1, 1)) for i in range(references)}
        place = 0
        while place < new:
            several = range(place, min(place + AT_A_TIME, new))
            joining = [self._connect(Reference if i in places else Viewer) for i in several]
            self._until(lambda who=joining: not any(viewer.to_come for viewer in who))
            place = several.stop
        self.start_again()

    def start_again(self):
        """Forget what was received so far, for all alike."""
        for viewer in self._viewers.values():
            viewer.start_again()

    def add_one_that_stops_reading(self):
        """Connect a viewer with a small buffer that reads its welcome, and then nothing more."""
        viewer = Viewer(self._kind, self._subject.port, self._token, receive_buffer=4096)
        while viewer.to_come:
            select.select([viewer.socket], [], [], 10)
            viewer.read()
        self._silent.append(viewer)

    def pump(self, seconds, most=256):
        """Read from viewers that have something, some at a time; wait so long for the first."""
        for number, _ in self._poll.poll(max(seconds, 0), most):
            self._viewers[number].read()

    def wait_for(self, count):
        """Read until all viewers have these many updates and exactly the same bytes."""
        self._until(lambda: self.has(count))

    def has(self, count):
        """Whether all viewers have these many updates, and exactly the same bytes."""
        complete = all(len(reference.updates) == count for reference in self.references)
        return complete and self.have_the_same()

    def have_the_same(self):
        """Whether the checksum and the length of what each has received are the same."""
        seen = {(viewer.length, viewer.checksum) for viewer in self._viewers.values()}
        return len(seen) == 1

    def close(self):
        for viewer in [*self._viewers.values(), *self._silent]:
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
