"""Moderation: monitoring of users and scores, and actions on them, for admins."""

from .routes import bp

__all__ = ["bp"]
