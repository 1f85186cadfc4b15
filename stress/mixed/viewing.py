"""Actors that watch: viewers of all kinds that connect, and close or reset their connections."""

import json
import random
import socket
import time

import websocket

from tests.support.subscribers import PATH, PlainViewer, SocketIoViewer
from tests.support.waiting import SECONDS

from .load import Actor
from .sockets import reset


class Viewers(Actor):
    """Opens viewers of random kinds, each for up to 30 s."""

    every = 2.0

    def __init__(self, world, notes):
        super().__init__(world, notes)
        self._there = []  # pairs of viewer and leaving time

    def act(self):
        now = time.monotonic()
        for viewer, until in list(self._there):
            if until <= now:
                self._there.remove((viewer, until))
                self._leave(viewer)
        self._there.append((self._come(), now + random.uniform(1, 30)))

    def _come(self):
        token = self.ask("a viewer's token", "POST", "/api/auth/viewer").json()["access_token"]
        how = random.choice(["header", "query", "subprotocol", "websocket", "polling", "upgrade"])
        self.notes.count(f"a viewer: {how}")
        if how in ("header", "query", "subprotocol"):
            viewer = PlainViewer(self.world.url, token, how)
        else:
            transports = ["polling", "websocket"] if how == "upgrade" else [how]
            viewer = SocketIoViewer(self.world.url, token, transports)
        viewer.wait_for_count(1)
        return viewer

    def _leave(self, viewer):
        viewer.wait_for_count(1)
        if isinstance(viewer, PlainViewer) and random.random() < 0.5:
            reset(viewer.socket.sock)
        else:
            viewer.close()

    def close(self):
        for viewer, _ in self._there:
            self._leave(viewer)
        super().close()


class Stalled(Actor):
    """A viewer with a small receive buffer that stops reading, and later resets its connection."""

    every = 4.0

    def __init__(self, world, notes):
        super().__init__(world, notes)
        self._socket = None

    def act(self):
        if self._socket is None or random.random() < 0.2:
            self._vanish()
            self._socket = self._watch()
            self.notes.count("a viewer that stalls")

    def _watch(self):
        token = random.choice(self.world.players).token
        options = {
            "sockopt": [(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)],
            "timeout": SECONDS,
        }
        address = self.world.url.replace("http", "ws", 1) + PATH
        if random.random() < 0.5:
            return websocket.create_connection(f"{address}?token={token}", **options)
        address += "/?EIO=4&transport=websocket"
        opened = websocket.create_connection(address, **options)
        opened.recv()
        opened.send("40" + json.dumps({"token": token}))
        return opened

    def _vanish(self):
        if self._socket:
            reset(self._socket.sock)

    def close(self):
        self._vanish()
        super().close()
