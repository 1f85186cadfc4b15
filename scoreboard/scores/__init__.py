"""Submitting a score, and the order they make."""

from .routes import bp, leaderboard_bp

__all__ = ["bp", "leaderboard_bp"]
