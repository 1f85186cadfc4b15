"""Flood the server and measure how legitimate clients are served meanwhile: `make floods`.

Each flood runs in its own process, from its own addresses (127.x.0.y), so that its connections can
be distinguished from all others. It is bounded in connections, rate and time.
"""
