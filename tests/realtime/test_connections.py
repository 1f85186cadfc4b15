"""Live connections: their limits, deadlines and ends."""

import itertools
import math

import pytest

from scoreboard.concurrency import runtime
from scoreboard.observability import metrics
from scoreboard.permissions import Caller
from scoreboard.realtime.connections import Connections, LiveConnection

PER_ADDRESS = 3
USERS = [f"user {number}" for number in range(300)]


class Harness:
    """Connections; `closed` holds those that were closed, with code and reason."""

    def __init__(self):
        self.connections = Connections(per_address=PER_ADDRESS, metrics=metrics.Metrics())
        self.closed = []
        self._numbers = itertools.count()

    def open(self, address="127.0.0.1"):
        connection = LiveConnection(address, metrics.WEBSOCKET)
        connection.close = lambda code, reason: self.closed.append((connection, code, reason))
        self.connections.open(connection)
        return connection

    def admit(self, user_id=None, issued_at=0, address=None):
        """Open a connection, by default from a new address, and authenticate it."""
        connection = self.open(address or f"address {next(self._numbers)}")
        caller = Caller(user_id, "viewer", issued_at, math.inf, (user_id,))
        self.connections.admit(connection, caller, "a token")
        return connection


@pytest.fixture
def harness():
    return Harness()


@pytest.fixture
def connections(harness):
    return harness.connections


def test_a_connection_that_cannot_be_closed_does_not_protect_the_others(harness, connections):
    def fail(code, reason):
        raise KeyError("gone")

    first, second, third = (harness.open() for _ in range(3))
    first.close = third.close = fail

    connections.sweep(now=math.inf)

    assert harness.closed == [(second, 4401, "not_authenticated")]


def test_connections_that_end_during_a_sweep_are_not_closed(harness, connections, monkeypatch):
    opened = [harness.open() for _ in range(3)]

    def drop_all():
        for connection in opened:
            connections.drop(connection)

    monkeypatch.setattr(runtime, "yield_to_loop", drop_all)

    connections.sweep(now=math.inf)

    assert len(harness.closed) == 1


def test_revoking_a_session_closes_only_its_older_connections(harness, connections):
    older = harness.admit("ann", issued_at=10)
    harness.admit("ann", issued_at=21)
    harness.admit("bob", issued_at=10)

    connections.end_sessions(dict.fromkeys(("ann", "eve"), (20.0, None)))

    assert harness.closed == [(older, 4401, "token_revoked")]


@pytest.mark.parametrize(
    ("check", "expected"),
    [
        (lambda c: c.sweep(now=-math.inf), 3),
        (lambda c: c.end_sessions({"unknown": (20.0, None)}), 3),
        (lambda c: c.end_sessions(dict.fromkeys(USERS, (20.0, None))), 303),
    ],
    ids=["sweep", "no session ends", "all sessions end"],
)
def test_checks_yield_after_100_connections_and_after_each_close(
    harness, connections, monkeypatch, check, expected
):
    yields = []
    for user_id in USERS:
        harness.admit(user_id)
    monkeypatch.setattr(runtime, "yield_to_loop", lambda: yields.append(1))

    check(connections)

    assert len(yields) == expected


def test_all_connections_of_users_are_returned_in_batches(harness, connections):
    users = [harness.admit(user_id) for user_id in ("ann", "ann", "bob", "eve", "joe")]
    harness.admit(None)

    for _ in range(2):
        batches = [connections.next_user_connections(2) for _ in range(3)]
        assert [len(batch) for batch in batches] == [2, 2, 1]
        assert {each for batch in batches for each in batch} == set(users)


def test_only_the_oldest_unauthenticated_connections_of_an_address_are_closed(harness):
    for _ in range(PER_ADDRESS):
        harness.admit(address="127.0.0.1")
    opened = [harness.open("127.0.0.1") for _ in range(PER_ADDRESS + 2)]
    harness.open("127.0.0.2")

    assert harness.closed == [(each, 4401, "not_authenticated") for each in opened[:2]]


def test_dropped_connections_leave_nothing(harness, connections):
    opened = [harness.open() for _ in range(PER_ADDRESS + 2)]
    for connection in [*opened, harness.admit("ann"), harness.admit(None)]:
        connections.drop(connection)

    assert not connections._all
    assert not connections._groups


def test_connections_whose_messages_wait_for_a_poll_may_remain(harness, connections):
    behind, other = (harness.open() for _ in range(2))
    for each in (behind, other):
        each.close_transport = each.close
    behind.awaits_poll = lambda: True

    connections.close_all_transports(wait_for_polls=True)
    assert harness.closed == [(other, 1012, "restarting")]

    connections.close_all_transports(wait_for_polls=False)
    assert (behind, 1012, "restarting") in harness.closed
