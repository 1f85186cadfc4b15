"""Authentication: registration, sign-in and tokens."""

from .routes import bp

__all__ = ["bp"]
