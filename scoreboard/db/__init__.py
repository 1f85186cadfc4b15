"""Databases: SQL transactions with deadlines, and rate limits in memory or Redis."""

from flask import Flask

from . import rate_limits, transactions


def init_app(app: Flask) -> None:
    """Set up the database and the rate limits. Raises what `transactions.init_app` raises."""
    transactions.init_app(app)
    rate_limits.init_app(app)
