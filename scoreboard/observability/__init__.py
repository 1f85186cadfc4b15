"""Logs, the audit log, and metrics."""

from .logging import init_app

__all__ = ["init_app"]
