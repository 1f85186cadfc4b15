"""Monitoring of the process that responds; behind a router, each request may reach another."""

from typing import Any

from flask import current_app

from ..http.json import loads
from ..services import services
from .schemas import audit_query_schema
from .service import Moderator


def overview(by: Moderator) -> dict[str, Any]:
    """Return the last 60 minutes of this process, oldest first, and its connections."""
    return {
        "process": _process(),
        "minutes": [
            {
                "minute": minute,
                "accepted": counts.pop("accepted", 0),
                "refused": counts,
            }
            for minute, counts in services().recent.minutes()
        ],
        "connections": services().metrics.open_connections(),
    }


def audit_tail(by: Moderator, query: dict[str, str]) -> dict[str, Any]:
    """Return the newest audit lines of this process, at most 1,000, newest last.

    With `after` in the query, only lines with a greater `seq`. `after` is ignored if `process`
    names another process, since each process numbers its own lines.
    """
    asked = audit_query_schema.load(query)
    same = asked.get("process", services().recent.name) == services().recent.name
    lines = services().recent.lines(asked.get("after", 0) if same else 0)
    return {
        "process": _process(),
        "lines": [{"seq": number, **loads(line)} for number, line in lines],
    }


def _process() -> dict[str, Any]:
    return {
        "name": services().recent.name,
        "dyno": current_app.config["DYNO"],
        "since": services().recent.since,
    }
