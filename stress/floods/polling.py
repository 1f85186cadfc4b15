"""Floods of polling sessions."""

import itertools
import json
import urllib.request

from bench import wire

from .reading import answered
from .swarm import Flood

PATH = "/ws/scoreboard/?EIO=4&transport=polling"


class Sessions(Flood):
    """200 new polling sessions a second that never authenticate, nor come again."""

    count = 64
    rate = 200

    def prepare(self):
        self._numbers = itertools.count()

    def act(self):
        if self.connections:
            one = self.connections[next(self._numbers) % len(self.connections)]
            taken = self.say(one, wire.request("GET", PATH, self.target.port, ""))
            self.counts["asked" if taken else "not taken"] += 1

    def hear(self, one, data):
        answered(self, one, data)


class Flights(Sessions):
    """100 polling sessions a second that are closed as soon as they are there."""

    rate = 100

    def hear(self, one, data):
        for status, body in answered(self, one, data):
            if status == 200 and body.startswith(b"0"):
                path = f"{PATH}&sid={json.loads(body[1:])['sid']}"
                self.say(one, wire.request("POST", path, self.target.port, "", b"1"))


class Overlapping(Flood):
    """500 polls at a time for 5 sessions, each asked again within half a second of its answer."""

    every = 0.5

    def prepare(self):
        self._sessions = [watching(self.target, self.counts) for _ in range(5)]

    def hello(self, one):
        return self.words(one)

    def words(self, one):
        if one.step or self.holding:
            return b""
        one.step = 1
        path = f"{PATH}&sid={self._sessions[one.number % 5]}"
        return wire.request("GET", path, self.target.port, "")

    def hear(self, one, data):
        if answered(self, one, data):
            one.step = 0


class NeverPolling(Flood):
    """32 sessions that watch and post packets as fast as they are answered, and never poll."""

    count = 32

    def prepare(self):
        self._sessions = [watching(self.target, self.counts) for _ in range(self.count)]

    def hello(self, one):
        path = f"{PATH}&sid={self._sessions[one.number % self.count]}"
        return wire.request("POST", path, self.target.port, "", b"\x1e".join([b"3"] * 16))

    def hear(self, one, data):
        for status, _ in answered(self, one, data):
            # A session that is refused has ended; its connection stays, and has no more to say.
            if status == 200 and not self.holding:
                self.say(one, self.hello(one))


def watching(target, counts):
    """Return the name of a new polling session that watches."""
    url = f"http://127.0.0.1:{target.port}{PATH}"
    with urllib.request.urlopen(url, timeout=20) as answer:
        sid = json.loads(answer.read()[1:])["sid"]
    hello = b"40" + json.dumps({"token": target.viewer_token}).encode()
    for data in (hello, None):
        with urllib.request.urlopen(f"{url}&sid={sid}", data, timeout=20) as answer:
            answer.read()
    counts["sessions"] += 1
    return sid
