"""Submitting a score, and the order they make."""

from .routes import bp

__all__ = ["bp"]
