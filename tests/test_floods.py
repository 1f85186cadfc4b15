"""Every flood in small, all against one server: it lets go of them, and nobody else notices.

What they cost the others is for `make floods` to measure. They come from addresses of their own, so
that it can be told what the server still holds of each.
"""

import sys

import pytest
from viewers import missing

from bench.load import Lost
from stress.floods.attack import FLOODS, Attack
from stress.floods.people import People
from stress.floods.served import Served, connections

# How many connections, and acts a second. These wait, and come first:
SLOW = {
    "idle": {"count": 300},
    "strangers": {"count": 100},
    "slow-heads": {"count": 50},
    "slow-lines": {"count": 50},
    "slow-bodies": {"count": 50},
    "slow-chunks": {"count": 51},
    "slow-readers": {"count": 20},
    "vanished": {"count": 60},
    "sessions": {"count": 8, "rate": 50},
    "overlapping": {"count": 50},
}
# And these take whatever the server gives them, so they are short.
FAST = {
    "endless-lines": {"count": 2},
    "flights": {"count": 8, "rate": 20},
    "never-polling": {"count": 4},
    "logins": {"count": 8, "rate": 100},
    "scattered-logins": {"count": 20, "rate": 5},
    "fresh-logins": {"count": 20},
    "guesses": {"count": 2},
    "handshake-guesses": {"count": 2},
    "connect-guesses": {"count": 2},
    "large": {"count": 2},
    "large-nested": {"count": 2},
    "large-garbage": {"count": 2},
    "large-strangers": {"count": 2},
    "talkative": {"count": 2},
    "parts": {"count": 2},
    "pings": {"count": 2},
    "engine-pings": {"count": 2},
}
SMALL = SLOW | FAST
# What a flood counts only if the server has taken it in, and it has come to what it is about.
COMES_TO = {
    "held": ["idle", "strangers", "slow-heads", "slow-lines", "slow-bodies", "slow-chunks"],
    "ended by the server": ["slow-readers", "endless-lines"],
    "vanished": ["vanished"],
    "200": ["sessions", "flights", "never-polling"],
    "400": ["overlapping"],
    "401": ["logins", "scattered-logins", "fresh-logins", "guesses", "handshake-guesses"],
    "44": ["connect-guesses"],
    "frames": ["large", "large-nested", "large-garbage", "large-strangers", "talkative", "parts"],
    "pings": ["pings", "engine-pings"],
}  # fmt: skip
UP_SECONDS, FLOODED_SECONDS, LET_GO_SECONDS = 20, 2, 60
# What the process may grow by: some KiB for each connection, and what libraries keep.
MOST_GROWN = 128 * 1024 * 1024


class Flooded:
    """A server through all floods, and what came of it."""

    def __init__(self):
        self.served = Served()
        self.lost = None
        self.held, self._were_held = {}, {}
        self.counts = {}
        self.grown = 0
        self.attacks = []
        try:
            self._go()
        except Lost as reason:
            self.lost = str(reason)
        finally:
            self.counts = {
                attack.name: attack.end() | {"held": self._were_held.get(attack.name, 0)}
                for attack in self.attacks
            }
            self.log = self.served.log()
            self.served.stop()

    def _go(self):
        people = People(self.served, rate=20)
        people.run(2)
        self._sockets, self._resident = self.served.sockets(), self.served.resident_bytes()
        target = self.served.target()
        for network, (name, how) in enumerate(SMALL.items(), 100):
            self.attacks.append(Attack(name, target, network, **how))
        self.all_were_up = self._begin(people, SLOW) and self._begin(people, FAST)
        people.run(FLOODED_SECONDS, beside=self._look)
        self._were_held = {attack.name: attack.held() for attack in self.attacks}
        for attack in self.attacks:
            attack.hold()
        people.run(LET_GO_SECONDS, lambda: self._all_is_let_go(people), self._look)
        self.held = {attack.name: attack.held() for attack in self.attacks}
        self.connections = connections(people.metrics)
        self.sockets = self._sockets_left()
        people.finish()

    def _begin(self, people, names):
        attacks = [attack for attack in self.attacks if attack.name in names]
        for attack in attacks:
            attack.begin()
        return people.run(UP_SECONDS, lambda: all(attack.is_up() for attack in attacks), self._look)

    def _all_is_let_go(self, people):
        nothing_held = not any(attack.held() for attack in self.attacks)
        return nothing_held and connections(people.metrics) == 2 and not self._sockets_left()

    def _sockets_left(self):
        return self.served.sockets() - self._sockets

    def _look(self):
        self.grown = max(self.grown, self.served.resident_bytes() - self._resident)


@pytest.fixture(scope="module")
def flooded():
    if not sys.platform.startswith("linux"):
        missing("what a process holds is read from Linux's /proc")
    return Flooded()


def test_there_is_a_small_one_of_every_flood():
    settings_of_their_own = {name for name, flood in FLOODS.items() if flood.settings}

    assert set(SMALL) == set(FLOODS) - settings_of_their_own
    assert set(SMALL) == {name for names in COMES_TO.values() for name in names}


@pytest.mark.parametrize("name", SMALL)
def test_a_flood_is_let_go_of_within_a_minute(flooded, name):
    assert flooded.counts[name]["opened"] > 0
    assert flooded.held[name] == 0


@pytest.mark.parametrize("what", COMES_TO)
def test_a_flood_comes_to_what_it_is_about(flooded, what):
    counted = {name: flooded.counts[name].get(what, 0) for name in COMES_TO[what]}

    assert all(counted.values()), counted


def test_no_session_of_a_flood_is_left(flooded):
    assert flooded.connections == 2


def test_no_socket_is_left(flooded):
    assert flooded.sockets == 0


def test_all_others_are_answered_and_told_everything(flooded):
    assert flooded.all_were_up
    assert flooded.lost is None


def test_memory_is_bounded(flooded):
    assert flooded.grown < MOST_GROWN


def test_a_flood_leaves_no_traceback(flooded):
    assert "Traceback" not in flooded.log
