"""Floods over connections that were let in: large frames, and talk without listening."""

import json

from bench import wire
from bench.kinds import Plain, SocketIo

from .reading import framed
from .swarm import Flood

LONGEST = 64 * 1024
PING = b"\x89\x80\x00\x00\x00\x00"


class Large(Flood):
    """Four Socket.IO clients, viewers and players, that send updates of 64 KiB without a pause."""

    count = 4
    opening = 20

    def hello(self, one):
        return SocketIo.handshake(self.target.port, "")

    def hear(self, one, data):
        for payload in framed(one, data) or []:
            if payload[:1] == b"0":
                self.say(one, connect(self._token(one)))
            elif payload[:2] == b"40":
                one.step = 2
                self.talk(one)
            elif payload == b"2":
                self.counts["pings"] += 1

    def more(self, one):
        if one.step < 2:
            return b""
        self.counts["frames"] += 1
        return self._frame

    def prepare(self):
        self._frame = text_frame(self.payload())

    def payload(self):
        """Return an event of LONGEST bytes: an update with fields that nobody knows."""
        return _filled(b'421["update_score",{"user_id":"x"', b',"f%05d":1%05d', b"}]")

    def _token(self, one):
        return self.target.player_token if one.number % 2 else self.target.viewer_token


class LargeNested(Large):
    """The same with lists in lists as deep as they go."""

    def payload(self):
        return (b'421["update_score",' + b"[" * LONGEST)[:LONGEST]


class LargeGarbage(Large):
    """The same with what is no packet at all; whoever is thrown out comes again."""

    def payload(self):
        return (b"4" + "ÿ}{".encode() * LONGEST)[:LONGEST]


class LargeStrangers(Large):
    """The same by ten clients that have not authenticated yet: connects with 64 KiB of a token."""

    count = 10

    def hear(self, one, data):
        for payload in framed(one, data) or []:
            if payload[:1] == b"0":
                one.step = 2
                self.talk(one)

    def payload(self):
        return b'40{"token":"' + b"x" * (LONGEST - 14) + b'"}'


class Talkative(Flood):
    """Eight plain viewers that send 4 KiB without a pause, where nothing is expected of them."""

    count = 8

    def hello(self, one):
        return Plain.handshake(self.target.port, self.target.viewer_token)

    def hear(self, one, data):
        if not one.step and framed(one, data) is not None:
            self.talk(one)

    def more(self, one):
        self.counts["frames"] += one.step
        return wire.text_frame(b"x" * 4096) if one.step else b""


class Parts(Talkative):
    """Eight plain viewers that send parts of a message without a pause, and never its end."""

    first, rest = b"\x01\x80\0\0\0\0", b"\0\x80\0\0\0\0" * 256

    def more(self, one):
        if not one.step:
            return b""
        self.counts["frames"] += 256
        begins, one.step = one.step == 1, 2
        return self.first + self.rest if begins else self.rest


class Pings(Flood):
    """Eight plain viewers that ping without a pause, and never read after their welcome."""

    count = 8
    receive_buffer = 4096

    def hello(self, one):
        return Plain.handshake(self.target.port, self.target.viewer_token)

    def hear(self, one, data):
        for payload in framed(one, data) or []:
            if b'"top_10_update"' in payload:
                one.step = 2
                self.stop_reading(one)
                self.talk(one)

    def more(self, one):
        if one.step < 2:
            return b""
        self.counts["pings"] += 1
        return self.words_of_a_viewer

    words_of_a_viewer = PING * 256


class EnginePings(Pings):
    """Eight Socket.IO viewers that send pings and packets without a pause, and never read."""

    def hello(self, one):
        return SocketIo.handshake(self.target.port, "")

    def hear(self, one, data):
        if not one.step and framed(one, data) is not None:
            self.say(one, connect(self.target.viewer_token))
        else:
            super().hear(one, data)

    words_of_a_viewer = (PING + wire.text_frame(b"3") + wire.text_frame(b"6")) * 128


def connect(token):
    """Return the packet by which a Socket.IO client authenticates."""
    return wire.text_frame(b"40" + json.dumps({"token": token}).encode())


def text_frame(payload):
    """Return a payload of LONGEST bytes as one text frame from a client."""
    return b"\x81\xff" + LONGEST.to_bytes(8) + bytes(4) + payload.ljust(LONGEST)


def _filled(begin, field, end):
    """Return the bytes with so many fields between that they are LONGEST."""
    fields = b""
    for number in range(LONGEST):
        next_ = field % (number, number)
        if len(begin) + len(fields) + len(next_) + len(end) > LONGEST:
            break
        fields += next_
    return begin + fields + end
