"""Detects anomalies in attempts to update scores and flags their users."""

from .service import init_app, observe

__all__ = ["init_app", "observe"]
