"""Databases: SQL transactions with deadlines; rate limits and recent activity, also in Redis."""

from flask import Flask

from . import activity, rate_limits, transactions


def init_app(app: Flask) -> None:
    """Set up the database, rate limits and activity. Raises what `transactions.init_app` raises."""
    transactions.init_app(app)
    rate_limits.init_app(app)
    activity.init_app(app)
