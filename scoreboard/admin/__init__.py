"""Moderation: monitoring of users and scores, and actions on them, for admins."""

from .routes import bp as bp
