"""Authentication: registration, sign-in and tokens."""

from flask import Flask

from ..concurrency.coalescer import Coalescer
from ..services import services
from . import mail, passwords, revocations
from .issuer import Issuer
from .routes import bp as bp


def init_app(app: Flask) -> None:
    """Create the application's queues of passwords and mails, and its token checks."""
    waits = services(app).metrics.queue_wait_seconds
    services(app).password_queue = passwords.new_queue(waits.labels("passwords").observe)
    services(app).mailer = mail.Mailer(app)
    services(app).issuer = Issuer(app.config) if app.config["JWT_JWKS"] else None
    services(app).token_checks = Coalescer(revocations.current_roles, revocations.MAX_BATCH_SIZE)
