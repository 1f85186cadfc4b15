"""Floods, and what legitimate clients notice of them: `make floods`.

Every flood runs in a process of its own, from addresses of its own (127.x.0.y), so that what the
server still holds of it can be told from everything else. It is bounded in connections, rate and
time, and ends by itself.
"""
