"""Web pages and their static files."""

from .routes import bp

__all__ = ["bp"]
