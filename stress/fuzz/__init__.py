"""Fuzz the application in this process: `python -m stress.fuzz --help`."""
