"""Who is connected: each until its deadline, whatever happens to the others."""

import math

from scoreboard import metrics
from scoreboard.permissions import Caller
from scoreboard.realtime.connections import Connection, Connections


def test_one_that_cannot_be_closed_does_not_keep_the_others_open():
    closed = []

    def fail(code, reason):
        raise KeyError("gone")

    connections = Connections(per_address=10)
    for close in (fail, lambda code, reason: closed.append(code), fail):
        connections.open(Connection("127.0.0.1", metrics.WEBSOCKET, close))

    connections.sweep(now=math.inf)

    assert closed == [4401]


def test_the_connections_of_users_come_round_some_at_a_time():
    connections = Connections(per_address=10)
    for user_id in (None, "ann", "ann", "bob", None, "eve", "joe"):
        connection = Connection("127.0.0.1", metrics.WEBSOCKET)
        connections.open(connection)
        connections.admit(connection, Caller(user_id, "viewer", 0, math.inf, ()), "a token")

    rounds = [[connections.next_of_users(2) for _ in range(3)] for _ in range(2)]

    for some in rounds:
        assert [len(each) for each in some] == [2, 2, 1]
        users = [connection.caller.user_id for each in some for connection in each]
        assert sorted(users) == ["ann", "ann", "bob", "eve", "joe"]
