"""Actors that abandon connections: half a request, no request, a session that is never polled."""

import json
import random
import time

from .load import Actor
from .sockets import connected, reset

HALVES = (
    b"",
    b"GET /api/score",
    b"GET / HTTP/1.1\r\nHost: x\r\n",
    b"POST /api/score/update HTTP/1.1\r\nContent-Length: 100\r\n\r\n{",
    b"GET /healthz HTTP/1.1\r\n\r\n",
    b"GET /ws/scoreboard/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\n"
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: eHh4eHh4eHh4eA==\r\n\r\n",
)


class HalfOpen(Actor):
    """Sends incomplete requests; closes half of them at once, and holds the rest up to 90 s."""

    every = 1.0

    def __init__(self, world, notes):
        super().__init__(world, notes)
        self._held = []  # pairs of socket and closing time

    def act(self):
        now = time.monotonic()
        for connection, until in list(self._held):
            if until <= now:
                self._held.remove((connection, until))
                self._drop(connection)
        connection = connected(self.world.port)
        connection.sendall(random.choice(HALVES))
        self.notes.count("half a connection")
        if random.random() < 0.5:
            self._drop(connection)
        else:
            self._held.append((connection, now + random.uniform(1, 90)))

    def _drop(self, connection):
        if random.random() < 0.5:
            reset(connection)
        else:
            connection.close()

    def close(self):
        for connection, _ in self._held:
            self._drop(connection)
        super().close()


class Abandoned(Actor):
    """Opens sessions that it never polls, so that the server must time them out."""

    every = 4.0

    def act(self):
        path = "/ws/scoreboard/?EIO=4&transport=polling"
        sid = self.ask("a session", "GET", path).text.partition('"sid":"')[2].partition('"')[0]
        if random.random() < 0.7:
            token = random.choice(self.world.players).token
            packet = "40" + json.dumps({"token": token})
            self.ask("a session's packet", "POST", f"{path}&sid={sid}", data=packet)
