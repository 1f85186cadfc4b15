"""Endpoints for operators: liveness, readiness and metrics."""

from .routes import bp as bp
