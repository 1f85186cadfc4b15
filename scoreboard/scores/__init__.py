"""Scores: submission, recording, history, and the score and leaderboard endpoints."""

from .routes import bp, leaderboard_bp

__all__ = ["bp", "leaderboard_bp"]
