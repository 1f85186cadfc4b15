"""Subscribers in the process of the tests."""

import math
from typing import Any

from flask import Flask

from scoreboard.observability.metrics import WEBSOCKET
from scoreboard.permissions import Caller
from scoreboard.realtime import hub
from tests.support.frames import texts

# The bearer of a public viewer token.
VIEWER = Caller(None, "viewer", 0, math.inf, ())


class LocalSubscriber:
    """A plain WebSocket that gets the messages before the response to an update is sent."""

    def __init__(self, app: Flask, boards: list[str] | None = None) -> None:
        """Subscribe to these boards, or to `main` without a name."""
        self.frames: list[bytes] = []
        hub.subscribe(app, WEBSOCKET, self, VIEWER, boards)

    def push(self, frames: bytes) -> None:
        self.frames.append(frames)

    def messages(self) -> list[dict[str, Any]]:
        """Return all messages except the initial top 10."""
        return [message for frames in self.frames[1:] for message in texts(frames)]
