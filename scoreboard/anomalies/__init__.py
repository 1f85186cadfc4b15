"""Anomalies among the attempts to update a score, and the users flagged for them."""
