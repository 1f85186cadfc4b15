"""Webhooks: the outbox of events, and their delivery."""

from flask import Flask

from ..services import services
from .delivery import Deliverer


def init_app(app: Flask) -> None:
    """Create the application's deliverer, which the maintenance of connections calls."""
    services(app).webhooks = Deliverer(app)
