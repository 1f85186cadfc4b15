"""Live connections: the subscribers, and the messages pushed to them."""

from flask import Flask

from . import maintenance
from .socketio.handlers import SocketIOHandlers


def init_app(app: Flask) -> None:
    """Serve Socket.IO, and start the maintenance of connections with the first one."""
    maintenance.init_app(app, SocketIOHandlers(app).close_dead_and_slow_clients)
