"""Readiness and metrics. The cause of a failure is logged, never sent to the client."""

import hmac
import logging
import time
from typing import Any

from flask import current_app
from prometheus_client import generate_latest

from ..errors import NotAuthenticated
from ..services import services

log = logging.getLogger(__name__)

# A Redis that takes longer than this, name lookup included, is too slow for pushes as well.
REDIS_TIMEOUT = 0.5


def readiness() -> dict[str, Any]:
    """Return whether requests can be served, with the state of each dependency.

    Only the database decides: without Redis everything works, but more slowly. `last_broadcast`
    is the seconds since this process last pushed to subscribers, None if it never has. Blocks
    for the database, and up to REDIS_TIMEOUT for Redis.
    """
    checks = {
        "database": _database(),
        "redis": _redis(current_app.config["REDIS_URL"]),
        "last_broadcast": _last_broadcast(),
    }
    return {"status": "ok" if checks["database"] == "ok" else "failing", "checks": checks}


def exposition(token: str | None) -> bytes:
    """Return the metrics in Prometheus format. Raises NotAuthenticated without the right token."""
    wanted = current_app.config["METRICS_TOKEN"]
    if wanted and token is None:
        raise NotAuthenticated("Send METRICS_TOKEN as the Bearer token.", "token_missing")
    if wanted and not hmac.compare_digest((token or "").encode(), wanted.encode()):
        raise NotAuthenticated("The token is not the METRICS_TOKEN of this server.")
    return generate_latest(services().metrics.registry)


def _database() -> str:
    # The service must accept updates: with a read-only database it is not ready.
    return "ok" if services().database.try_write() else "failing"


def _redis(url: str) -> str:
    if not url:
        return "not used"
    return "ok" if services().rate_limits.is_reachable(REDIS_TIMEOUT) else "failing"


def _last_broadcast() -> float | None:
    sent_at = services().subscribers.sent_at
    return None if sent_at is None else round(time.monotonic() - sent_at, 1)
