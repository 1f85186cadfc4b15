"""Actors that submit as players, for their own score; the workload submits as a scorer."""

import random

from tests.support.subscribers import SocketIoViewer

from .load import Actor

TWICE = 0.1  # share of updates that are sent a second time


class Players(Actor):
    """Posts updates of random players, some of them twice."""

    every = 0.5

    def act(self):
        player = random.choice(self.world.players)
        update = player.update()
        self._post("an update", player, update, (200,))
        if random.random() < TWICE:
            self._post("a replay", player, update, (400,))

    def _post(self, what, player, update, allowed):
        self.ask(what, "POST", "/api/score/update", player.token, allowed, json=update)


class Pollers(Actor):
    """Submits by Socket.IO long polling, and sometimes reconnects as a random player."""

    every = 1.0

    def __init__(self, world, notes):
        super().__init__(world, notes)
        self._player, self._socket = None, None

    def act(self):
        if self._socket is None:
            self._player = random.choice(self.world.players)
            self._socket = SocketIoViewer(self.world.url, self._player.token, ["polling"])
        update = self._player.update(**random.choice([{}, {}, {}, {"score_value": "much"}]))
        try:
            told = self._socket.submit(update)
        except Exception:
            self._leave()  # otherwise one lost connection would fail every later act
            raise
        self.notes.expect("an event", told["status"], (200, 400), told)
        if random.random() < 0.05:
            self._leave()

    def _leave(self):
        if self._socket:
            self._socket.close()
            self._socket = None

    def close(self):
        self._leave()
        super().close()
