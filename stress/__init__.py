"""Stress tests: killed processes, floods, fuzzing and a soak test."""
