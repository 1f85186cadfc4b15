"""What people see: the pages, and the files that they are made of."""

from .routes import bp

__all__ = ["bp"]
