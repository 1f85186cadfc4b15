"""Detects anomalies in attempts to update scores and flags their users."""
