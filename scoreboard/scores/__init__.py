"""Taking updates, recording them, and a user's history."""

from .routes import bp

__all__ = ["bp"]
