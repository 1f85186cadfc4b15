"""Databases: SQL transactions with deadlines, and Redis for rate limits."""

from .transactions import init_app

__all__ = ["init_app"]
