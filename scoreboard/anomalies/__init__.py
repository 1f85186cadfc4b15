"""Anomaly detection in attempts to update scores, and flags of users."""

from .service import init_app, observe

__all__ = ["init_app", "observe"]
