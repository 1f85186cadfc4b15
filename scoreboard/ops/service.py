"""Readiness and metrics. The cause of a failure is logged, never sent to the client."""

import hmac
import time
from typing import Any

from flask import current_app
from prometheus_client import generate_latest

from ..errors import NotAuthenticated
from ..services import services

# A Redis that takes longer than this, name lookup included, is too slow for pushes as well.
REDIS_TIMEOUT = 0.5


def readiness() -> dict[str, Any]:
    """Return whether requests can be served, with the state of each dependency.

    Only the database decides: without Redis everything works, but more slowly. `last_broadcast`
    is the seconds since this process last pushed to subscribers, None if it never has. Blocks
    for the database, and up to REDIS_TIMEOUT for Redis.
    """
    # The service must accept updates: with a read-only database it is not ready.
    database = "ok" if services().database.try_write() else "failing"
    sent_at = services().subscribers.sent_at
    last_broadcast = None if sent_at is None else round(time.monotonic() - sent_at, 1)
    checks = {"database": database, "redis": _redis(), "last_broadcast": last_broadcast}
    return {"status": database, "checks": checks}


def exposition(token: str | None) -> bytes:
    """Return the metrics in Prometheus format. Raises NotAuthenticated without the right token."""
    required = current_app.config["METRICS_TOKEN"]
    if required and token is None:
        raise NotAuthenticated("Send METRICS_TOKEN as the Bearer token.", "token_missing")
    if required and not hmac.compare_digest((token or "").encode(), required.encode()):
        raise NotAuthenticated("The token is not the METRICS_TOKEN of this server.")
    return generate_latest(services().metrics.registry)


def _redis() -> str:
    if not current_app.config["REDIS_URL"]:
        return "not used"
    return "ok" if services().rate_limits.is_reachable(REDIS_TIMEOUT) else "failing"
