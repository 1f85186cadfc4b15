"""Thousands of subscribers in one loop that verify the messages they receive.

After the current top 10, all subscribers of a server get the same frames. So most of them only keep
a checksum of their bytes, without pings, which arrive at different times. A few
reference subscribers, spread from the first connected to the last, parse each message. A delivery
counts once all checksums equal those of the references.
"""

import json
import select
import socket
import struct
import time
from zlib import crc32

from . import wire
from .clients import MeasurementFailed, received, socketio_connection

CHUNK = 1 << 18
# No message can contain these bytes of a ping, since they are not valid UTF-8.
PING, PONG = b"\x81\x012", wire.text_frame(b"3")
SO_TIMESTAMPNS = 35  # Linux; Python has no constant for it


class Subscriber:
    """One Socket.IO subscriber."""

    def __init__(self, port, token):
        self.socket = socketio_connection(port, token)
        self.length = self.checksum = 0
        self._partial_ping = b""  # the possible start of a ping

    def reset(self):
        """Reset the length and the checksum."""
        assert not self._partial_ping, "an incomplete ping"
        self.length = self.checksum = 0

    def read(self):
        """Read what has arrived: reply to pings, and add the other bytes to the checksum."""
        data = self.receive()
        if self._partial_ping:
            data, self._partial_ping = self._partial_ping + data, b""
        if PING in data:
            data = data.replace(PING, b"")
            self.socket.send(PONG)
        for length in range(len(PING) - 1, 0, -1):
            if data.endswith(PING[:length]):
                data, self._partial_ping = data[:-length], data[-length:]
                break
        self.length += len(data)
        self.checksum = crc32(data, self.checksum)
        return data

    def receive(self):
        return received(self.socket)


class ReferenceSubscriber(Subscriber):
    """A subscriber that keeps the value and arrival time of every `score_update`.

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

    def receive(self):
        data, ancillary, _, _ = self.socket.recvmsg(CHUNK, 64)
        if not data:
            raise MeasurementFailed("the server closed a subscriber's connection")
        self._arrived = time.time()
        for _, kind, value in ancillary:
            if kind == SO_TIMESTAMPNS:
                seconds, nanoseconds = struct.unpack("qq", value)
                self._arrived = seconds + nanoseconds / 1e9
        return data

    def read(self):
        self._frames += super().read()
        for payload in wire.frames(self._frames):
            message = json.loads(payload[2:])[1]
            if message["type"] == "score_update":
                self.updates.append((self._arrived, message["data"]["new_score"]))

    def reset(self):
        super().reset()
        self.updates = []


class SubscriberPool:
    """Subscribers of one server. Only `pump` reads from their sockets."""

    def __init__(self, server):
        self._server = server
        self._token = server.viewer_token()
        self._poll = select.epoll()
        self._subscribers = {}
        self.references = []

    def fileno(self):
        """Return a descriptor that is readable when any subscriber is, for another poll."""
        return self._poll.fileno()

    def __len__(self):
        return len(self._subscribers)

    def grow_to(self, count, references=5):
        """Connect subscribers until there are `count`, with new references among them."""
        new = count - len(self)
        places = {round(i * (new - 1) / max(references - 1, 1)) for i in range(references)}
        for place in range(new):
            self._connect(ReferenceSubscriber if place in places else Subscriber)
            self.pump(0)
        self.reset()

    def reset(self):
        """Reset the counts and checksums of all subscribers."""
        for subscriber in self._subscribers.values():
            subscriber.reset()

    def pump(self, seconds, most=256):
        """Read from up to `most` readable subscribers; wait up to `seconds` for the first."""
        for number, _ in self._poll.poll(max(seconds, 0), most):
            self._subscribers[number].read()

    def has_received(self, count):
        """Whether all subscribers have `count` updates and exactly the same bytes."""
        complete = all(len(reference.updates) == count for reference in self.references)
        return complete and len({(s.length, s.checksum) for s in self._subscribers.values()}) == 1

    def close(self):
        for subscriber in self._subscribers.values():
            subscriber.socket.close()
        self._poll.close()

    def _connect(self, kind):
        subscriber = kind(self._server.port, self._token)
        self._subscribers[subscriber.socket.fileno()] = subscriber
        self._poll.register(subscriber.socket, select.EPOLLIN)
        if kind is ReferenceSubscriber:
            self.references.append(subscriber)
