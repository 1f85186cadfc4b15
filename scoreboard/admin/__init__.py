"""Moderation: monitoring of users and scores, and actions on them, for admins."""

from . import webhook_routes as webhook_routes
from .routes import bp as bp
