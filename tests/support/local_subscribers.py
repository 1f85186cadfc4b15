"""Subscribers in the process of the tests, which get messages before the response is sent."""

import math

from scoreboard.observability.metrics import WEBSOCKET
from scoreboard.permissions import Caller
from scoreboard.realtime import hub
from scoreboard.realtime.connections import LiveConnection
from tests.support.frames import texts

# The bearer of a public viewer token.
VIEWER = Caller(None, "viewer", 0, math.inf, ())


class LocalSubscriber:
    """A connection that watches these boards, or `main` without a name."""

    def __init__(self, app, boards=None, user_id=None):
        """Subscribe with the token of this user, or of a viewer."""
        caller = Caller(user_id, "player", 0, math.inf, ()) if user_id else VIEWER
        self.frames = []
        self.connection = LiveConnection(
            "127.0.0.1", WEBSOCKET, caller=caller, push=self.frames.append
        )
        hub.subscribe(app, self.connection, boards)

    def all_messages(self):
        """Return all messages, the initial lists as well."""
        return [message for frames in self.frames for message in texts(frames)]

    def messages(self):
        """Return all messages except the initial top 10 of the first board."""
        return self.all_messages()[1:]
