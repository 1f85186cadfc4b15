"""Floods of questions: passwords and tokens tried by the thousand."""

import itertools
import json

from bench import wire
from bench.kinds import Plain, SocketIo

from .reading import answered, framed
from .swarm import Flood

NOT_A_TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIx{:08d}In0.c2lnbmF0dXJl"
NAMES = ("scorer", "nobody")


class Logins(Flood):
    """1,000 sign-ins a second, answered or not, with wrong passwords for a user and for nobody."""

    count = 64
    rate = 1000
    addresses = 1

    def prepare(self):
        self._numbers = itertools.count()

    def act(self):
        if not self.connections:
            return
        number = next(self._numbers)
        one = self.connections[number % len(self.connections)]
        self.counts["asked" if self.say(one, self._sign_in(number)) else "not taken"] += 1

    def _sign_in(self, number):
        body = {"username": NAMES[number % 2], "password": f"wrong password {number}"}
        return wire.request("POST", "/api/auth/login", self.target.port, "", _json(body))

    def hear(self, one, data):
        answered(self, one, data)


class HashedLogins(Logins):
    """The same where no limit of the address is in the way, so that each would be hashed."""

    settings = {  # noqa: RUF012
        "AUTH_RATE_LIMIT": "1000000/minute",
        "LOGIN_RATE_LIMIT": "1000000/minute",
    }


class ScatteredLogins(Logins):
    """The same from 250 addresses, each of which the limit lets in for 100."""

    count = 250
    addresses = 250


class FreshLogins(Logins):
    """1,000 sign-ins a second, each by a connection of its own."""

    count = 4000
    opening = 1000
    rate = 0

    def hello(self, one):
        self.counts["asked"] += 1
        return self._sign_in(next(self._numbers))


class Guesses(Flood):
    """Bad tokens at the update, as fast as 64 kept connections get their answers."""

    count = 64
    addresses = 1

    def hello(self, one):
        return self._guess()

    def hear(self, one, data):
        for _ in answered(self, one, data):
            if not self.holding:
                self.say(one, self._guess())

    def _guess(self):
        self.counts["asked"] += 1
        body = {"user_id": self.target.player_id, "score_value": 1, "timestamp": "2026-01-01"}
        token = NOT_A_TOKEN.format(self.counts["asked"])
        return wire.request("POST", "/api/score/update", self.target.port, token, _json(body))


class HandshakeGuesses(Guesses):
    """Bad tokens at the plain WebSocket, as fast as 64 connections get their answers."""

    def _guess(self):
        self.counts["asked"] += 1
        return Plain.handshake(self.target.port, NOT_A_TOKEN.format(self.counts["asked"]))


class ConnectGuesses(Flood):
    """Bad tokens at Socket.IO, as fast as 64 Engine.IO WebSockets get their answers."""

    count = 64
    addresses = 1

    def hello(self, one):
        return SocketIo.handshake(self.target.port, "")

    def hear(self, one, data):
        for payload in framed(one, data) or []:
            self.counts[payload[:2].decode()] += 1
            if payload[:1] == b"0" or (payload[:2] == b"44" and not self.holding):
                self.counts["asked"] += 1
                guess = json.dumps({"token": NOT_A_TOKEN.format(self.counts["asked"])})
                self.say(one, wire.text_frame(b"40" + guess.encode()))


def _json(body):
    return json.dumps(body).encode()
