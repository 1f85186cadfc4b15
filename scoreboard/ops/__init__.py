"""Endpoints for operators: liveness, readiness and metrics."""

from .routes import bp

__all__ = ["bp"]
