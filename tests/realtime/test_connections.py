"""Who is connected: each until its deadline, whatever happens to the others."""

import math
from types import SimpleNamespace

import pytest

from scoreboard.concurrency import runtime
from scoreboard.observability import metrics
from scoreboard.permissions import Caller
from scoreboard.realtime.connections import Connection, Connections
from scoreboard.realtime.socketio import handlers


def test_one_that_cannot_be_closed_does_not_keep_the_others_open():
    closed = []

    def fail(code, reason):
        raise KeyError("gone")

    connections = Connections(per_address=10, metrics=metrics.Metrics())
    for close in (fail, lambda code, reason: closed.append(code), fail):
        connections.open(Connection("127.0.0.1", metrics.WEBSOCKET, close))

    connections.sweep(now=math.inf)

    assert closed == [4401]


def test_everybody_has_a_turn_between_two_that_are_due_and_who_is_gone_by_then_is_left(monkeypatch):
    connections, closed = Connections(per_address=10, metrics=metrics.Metrics()), []
    several = [Connection("127.0.0.1", metrics.WEBSOCKET) for _ in range(3)]
    for connection in several:
        connection.close = lambda code, reason, connection=connection: closed.append(connection)
        connections.open(connection)

    def all_others_go():
        for connection in several:
            if connection not in closed:
                connections.drop(connection)

    monkeypatch.setattr(runtime, "yield_to_loop", all_others_go)

    connections.sweep(now=math.inf)

    assert len(closed) == 1


def test_what_ends_sessions_closes_those_of_before_and_of_that_name_alone():
    connections, closed = Connections(per_address=10, metrics=metrics.Metrics()), []
    for name, issued_at in (("ann", 10), ("ann", 21), ("bob", 10)):
        connection = Connection("127.0.0.1", metrics.WEBSOCKET)
        connection.close = lambda code, why, who=(name, issued_at): closed.append((who, code, why))
        connections.open(connection)
        caller = Caller(name, "viewer", issued_at, math.inf, (name,))
        connections.admit(connection, caller, "a token")

    connections.end_sessions({"ann": 20.0, "eve": 20.0})

    assert closed == [(("ann", 10), 4401, "token_revoked")]


def test_everybody_has_a_turn_between_two_whose_session_was_ended(monkeypatch):
    connections, went_on = Connections(per_address=10, metrics=metrics.Metrics()), []
    for _ in range(3):
        connection = Connection("127.0.0.1", metrics.WEBSOCKET)
        connection.close = lambda code, why: went_on.append("closed")
        connections.open(connection)
        connections.admit(connection, Caller("ann", "viewer", 10, math.inf, ("ann",)), "a token")
    monkeypatch.setattr(runtime, "yield_to_loop", lambda: went_on.append("others"))

    connections.end_sessions({"ann": 20.0})

    assert went_on == ["closed", "others"] * 3


@pytest.mark.parametrize("look", ["sweep", "end_sessions", "close_dead_clients"])
def test_everybody_has_a_turn_while_thousands_are_looked_at(monkeypatch, look):
    connections, turns_ = Connections(per_address=1000, metrics=metrics.Metrics()), []
    session = SimpleNamespace(closed=False, closing=True, queue=SimpleNamespace(qsize=lambda: 0))
    sessions = dict.fromkeys(range(300), session)
    for _ in sessions:
        connections.open(Connection("127.0.0.1", metrics.WEBSOCKET))
    monkeypatch.setattr(runtime, "yield_to_loop", lambda: turns_.append("others"))

    if look == "sweep":
        connections.sweep(now=-math.inf)
    elif look == "end_sessions":
        connections.end_sessions({"nobody": 0.0})
    else:
        handlers.SocketIOHandlers.close_dead_clients(
            SimpleNamespace(_engine=SimpleNamespace(sockets=sessions))
        )

    assert len(turns_) == 3


def test_who_has_yet_to_authenticate_is_counted_by_address():
    connections = Connections(per_address=10, metrics=metrics.Metrics())
    several = [Connection(address, metrics.WEBSOCKET) for address in ("a", "a", "a", "b")]
    for connection in several:
        connections.open(connection)
    connections.admit(several[0], Caller(None, "viewer", 0, math.inf, ()), "a token")
    connections.drop(several[1])

    assert [connections.waiting(address) for address in ("a", "b", "c")] == [1, 1, 0]


def test_the_connections_of_users_come_round_some_at_a_time():
    connections = Connections(per_address=10, metrics=metrics.Metrics())
    for user_id in (None, "ann", "ann", "bob", None, "eve", "joe"):
        connection = Connection("127.0.0.1", metrics.WEBSOCKET)
        connections.open(connection)
        connections.admit(connection, Caller(user_id, "viewer", 0, math.inf, ()), "a token")

    rounds = [[connections.next_user_connections(2) for _ in range(3)] for _ in range(2)]

    for some in rounds:
        assert [len(each) for each in some] == [2, 2, 1]
        users = [connection.caller.user_id for each in some for connection in each]
        assert sorted(users) == ["ann", "ann", "bob", "eve", "joe"]


class TestWhoHasYetToAuthenticate:
    MOST = 3

    @pytest.fixture
    def closed(self):
        return []

    @pytest.fixture
    def connections(self):
        return Connections(per_address=self.MOST, metrics=metrics.Metrics())

    @pytest.fixture
    def open_one(self, connections, closed):
        def open_one(address="127.0.0.1"):
            connection = Connection(address, metrics.SOCKET_IO)
            connection.close = lambda code, reason: closed.append((connection, code, reason))
            connections.open(connection)
            return connection

        return open_one

    def test_makes_room_when_there_are_too_many_of_its_address_the_longest_first(
        self, open_one, closed
    ):
        opened = [open_one() for _ in range(self.MOST + 2)]

        assert closed == [
            (opened[0], 4401, "not_authenticated"),
            (opened[1], 4401, "not_authenticated"),
        ]

    def test_makes_no_room_for_another_address(self, open_one, closed):
        for _ in range(self.MOST):
            open_one()

        open_one("127.0.0.2")

        assert closed == []

    def test_makes_no_room_once_it_has(self, connections, open_one, closed):
        caller = Caller(None, "viewer", 0, math.inf, ())
        for _ in range(self.MOST):
            connections.admit(open_one(), caller, "token")

        open_one()

        assert closed == []

    def test_leaves_nothing_behind(self, connections, open_one):
        for connection in [open_one() for _ in range(self.MOST + 2)]:
            connections.drop(connection)

        assert not connections._all
        assert not connections._waiting
