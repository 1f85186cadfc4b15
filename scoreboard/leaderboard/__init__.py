"""The order of the users: the top 10, pages, ranks and neighbours."""

from .routes import bp

__all__ = ["bp"]
