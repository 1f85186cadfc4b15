"""Moderation: what an admin sees of users and their scores, and does to them."""

from .routes import bp

__all__ = ["bp"]
