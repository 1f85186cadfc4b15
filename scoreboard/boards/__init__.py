"""Boards: what is ranked, and when its seasons begin and end."""
