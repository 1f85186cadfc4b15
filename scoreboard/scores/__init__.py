"""Score updates: submission, recording, and the history of a user."""

from .routes import bp

__all__ = ["bp"]
