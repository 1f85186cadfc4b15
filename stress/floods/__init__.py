"""Floods, and how legitimate clients fare meanwhile: `make floods`.

Every flood runs in a process of its own, from addresses of its own (127.x.0.y), so that its
connections can be told from all others. It is bounded in connections, rate and time.
"""
