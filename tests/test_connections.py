"""Who is connected: each until its deadline, whatever happens to the others."""

import math

from scoreboard import metrics
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
