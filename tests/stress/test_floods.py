"""Every flood in small, all against one server: it closes them, and nobody else notices.

How much slower the others get is for `make floods` to measure. Each flood comes from addresses of
its own, so that its sockets can be counted, and the refusal limiter blocks nobody else.
"""

import sys

import pytest

from bench.load import Lost
from stress.floods.attack import Attack
from stress.floods.clients import FLOODS
from stress.floods.people import People
from stress.floods.served import Served, connections
from tests.support.prerequisites import missing

# How many connections. These wait, and begin first:
SLOW = {
    "idle": 300,
    "unauthenticated": 100,
    "slow-heads": 50,
    "slow-bodies": 50,
    "slow-chunks": 51,
    "slow-readers": 20,
    "vanished": 60,
}
# These take whatever the server gives them, so they are short.
FAST = {"logins": 8, "guesses": 2, "connect-guesses": 2, "pipelining": 4}
SMALL = SLOW | FAST
# What a flood counts only once the server does what the flood is about.
REACHES = {
    "held": ["idle", "unauthenticated", "slow-heads", "slow-bodies", "slow-chunks", "slow-readers"],
    "vanished": ["vanished"],
    "200": ["pipelining"],
    "401": ["logins", "guesses"],
    "44": ["connect-guesses"],
}
UP_TIMEOUT, FLOODED_TIME, CLOSE_TIMEOUT = 20, 2, 60
# Some KiB for each connection, and what libraries keep.
MAX_GROWTH = 128 * 1024 * 1024


class Flooded:
    """A server through all floods, and what was observed."""

    def __init__(self):
        self.served = Served()
        self.lost = None
        self.held, self._were_held = {}, {}
        self.counts = {}
        self.growth = 0
        self.attacks = []
        try:
            self._flood()
        except Lost as reason:
            self.lost = str(reason)
        finally:
            self.counts = {
                attack.name: attack.end() | {"held": self._were_held.get(attack.name, 0)}
                for attack in self.attacks
            }
            self.log = self.served.log()
            self.served.stop()

    def _flood(self):
        people = People(self.served, rate=20)
        people.run(2)
        self._sockets, self._resident = self.served.sockets(), self.served.resident_bytes()
        target = self.served.target()
        for network, (name, count) in enumerate(SMALL.items(), 100):
            self.attacks.append(Attack(name, target, network, count))
        self.all_were_up = self._begin(people, SLOW) and self._begin(people, FAST)
        people.run(FLOODED_TIME, beside=self._look)
        self._were_held = {attack.name: attack.held() for attack in self.attacks}
        for attack in self.attacks:
            attack.hold()
        people.run(CLOSE_TIMEOUT, lambda: self._all_are_closed(people), self._look)
        self.held = {attack.name: attack.held() for attack in self.attacks}
        self.connections = connections(people.metrics)
        self.sockets = self._sockets_left()
        people.finish()

    def _begin(self, people, names):
        attacks = [attack for attack in self.attacks if attack.name in names]
        for attack in attacks:
            attack.begin()
        return people.run(UP_TIMEOUT, lambda: all(attack.is_up() for attack in attacks), self._look)

    def _all_are_closed(self, people):
        nothing_held = not any(attack.held() for attack in self.attacks)
        return nothing_held and connections(people.metrics) == 2 and not self._sockets_left()

    def _sockets_left(self):
        return self.served.sockets() - self._sockets

    def _look(self):
        self.growth = max(self.growth, self.served.resident_bytes() - self._resident)


@pytest.fixture(scope="module")
def flooded():
    if not sys.platform.startswith("linux"):
        missing("the sockets of a process are read from Linux's /proc")
    return Flooded()


def test_every_flood_has_a_small_one():
    assert set(SMALL) == set(FLOODS)
    assert set(SMALL) == {name for names in REACHES.values() for name in names}


@pytest.mark.parametrize("name", SMALL)
def test_a_flood_is_closed_within_a_minute(flooded, name):
    assert flooded.counts[name]["opened"] > 0
    assert flooded.held[name] == 0


@pytest.mark.parametrize("what", REACHES)
def test_a_flood_does_what_it_is_about(flooded, what):
    counted = {name: flooded.counts[name].get(what, 0) for name in REACHES[what]}

    assert all(counted.values()), counted


def test_no_live_connection_of_a_flood_is_left(flooded):
    assert flooded.connections == 2


def test_no_socket_is_left(flooded):
    assert flooded.sockets == 0


def test_all_others_get_every_response_and_message(flooded):
    assert flooded.all_were_up
    assert flooded.lost is None


def test_memory_is_bounded(flooded):
    assert flooded.growth < MAX_GROWTH


def test_a_flood_leaves_no_traceback(flooded):
    assert "Traceback" not in flooded.log
