"""Live connections: who is subscribed, and what is pushed to them."""

from flask import Flask

from . import maintenance
from .socketio import handlers


def init_app(app: Flask) -> None:
    """Serve Socket.IO, and start the maintenance of connections with the first one."""
    handlers.init_app(app)
    maintenance.init_app(app)
