"""Monitoring of the process that responds; behind a router, each request may reach another."""

from typing import Any

from flask import current_app

from ..http.json import loads
from ..services import services
from .schemas import audit_query_schema


def overview() -> dict[str, Any]:
    """Return the last 60 minutes of this process, oldest first, and its connections."""
    minutes = [
        {"minute": minute, "accepted": counts.pop("accepted", 0), "refused": counts}
        for minute, counts in services().recent.minutes()
    ]
    connections = services().metrics.open_connections()
    return {"process": _process(), "minutes": minutes, "connections": connections}


def audit_tail(query: dict[str, str]) -> dict[str, Any]:
    """Return the newest audit lines of this process, at most 1,000, in order.

    With `after` in the query, only lines with a greater `seq`. `after` is ignored if `process`
    names another process, since each process numbers its own lines.
    """
    loaded, recent = audit_query_schema.load(query), services().recent
    after = loaded.get("after", 0) if loaded.get("process", recent.name) == recent.name else 0
    lines = [{"seq": number, **loads(line)} for number, line in recent.lines(after)]
    return {"process": _process(), "lines": lines}


def _process() -> dict[str, Any]:
    recent = services().recent
    return {"name": recent.name, "dyno": current_app.config["DYNO"], "since": recent.since}
