"""Logs, the audit log, and metrics."""

from flask import Flask

from ..services import services
from . import logging
from .metrics import Metrics
from .recent import Recent


def init_app(app: Flask) -> None:
    """Set up the logs of the process, and the metrics and recent activity of the application."""
    logging.init_app()
    parts = services(app)
    parts.metrics, parts.recent, parts.attempts_in_progress = Metrics(), Recent(), set()
    parts.metrics.registry.register(logging.DroppedLines())
