"""Authentication: registration, sign-in and tokens."""

from flask import Flask

from ..concurrency.coalescer import Coalescer
from ..services import services
from . import passwords, revocations
from .routes import bp as bp


def init_app(app: Flask) -> None:
    """Create the application's password queue and the coalescer of its token checks."""
    services(app).password_queue = passwords.new_queue()
    services(app).token_checks = Coalescer(revocations.current_roles, revocations.MAX_BATCH_SIZE)
