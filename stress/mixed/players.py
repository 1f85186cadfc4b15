"""Updates by every door: a request each, in batches, as events; some of them twice."""

import random

from viewers import SocketIoViewer

from .load import Actor

TWICE = 0.1  # of the updates are sent once more


class Players(Actor):
    """Players that post their own scores."""

    every = 0.25

    def act(self):
        player = random.choice(self.world.players)
        update = player.update()
        self._post("an update", player, update, (200,))
        if random.random() < TWICE:
            self._post("a replay", player, update, (400,))

    def _post(self, what, player, update, allowed):
        self.ask(what, "POST", "/api/score/update", player.token, allowed, json=update)


class Batches(Actor):
    """A game server that posts many players' scores together."""

    every = 2.0

    def act(self):
        some = random.sample(self.world.players, 15)
        updates = [player.update() for player in some]
        updates += [updates[0], {"user_id": "nobody"}, None]
        body = {"updates": updates}
        answer = self.ask("a batch", "POST", "/api/score/batch", self.world.scorer.token, json=body)
        for result in answer.json()["results"]:
            self.notes.expect("an update of a batch", result["status"], (200, 400), result)


class Events(Actor):
    """A player that submits by Socket.IO, and comes back on another connection now and then."""

    every = 0.4

    def __init__(self, world, notes):
        super().__init__(world, notes)
        self._player, self._socket = None, None

    def act(self):
        if self._socket is None:
            self._player = random.choice(self.world.players)
            transport = random.choice(["websocket", "websocket", "polling"])
            self._socket = SocketIoViewer(self.world.url, self._player.token, [transport])
        update = self._player.update(**random.choice([{}, {}, {}, {"score_value": "much"}]))
        told = self._socket.submit(update)
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
