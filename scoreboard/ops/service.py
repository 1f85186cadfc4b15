"""Readiness and metrics. The cause of a failure is logged, never sent to the client."""

import hmac
import time
from typing import Any

from flask import current_app
from prometheus_client import generate_latest

from ..errors import Forbidden, NotAuthenticated
from ..services import services

# A Redis that takes longer than this, name lookup included, is too slow for pushes as well.
REDIS_TIMEOUT = 0.5
METRICS_CLOSED = (
    "The metrics of this server are closed: set METRICS_TOKEN and send it as the Bearer token, or"
    " set METRICS_PUBLIC=1."
)


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
    """Return the metrics in Prometheus format.

    Raises NotAuthenticated without the right token, and Forbidden if a public server has none.
    """
    settings = current_app.config
    if required := settings["METRICS_TOKEN"]:
        _check_token(token, required)
    elif settings["IS_PUBLIC"] and not settings["METRICS_PUBLIC"]:
        raise Forbidden(METRICS_CLOSED, "metrics_closed")
    return generate_latest(services().metrics.registry)


def _check_token(token: str | None, required: str) -> None:
    if token is None:
        raise NotAuthenticated("Send METRICS_TOKEN as the Bearer token.", "token_missing")
    if not hmac.compare_digest(token.encode(), required.encode()):
        raise NotAuthenticated("The token is not the METRICS_TOKEN of this server.")


def _redis() -> str:
    if not current_app.config["REDIS_URL"]:
        return "not used"
    return "ok" if services().rate_limits.is_reachable(REDIS_TIMEOUT) else "failing"
