"""What the service says about itself. Why something fails is for the log, never for the answer."""

import hmac
import logging
import time
from typing import Any, cast

from flask import current_app
from prometheus_client import generate_latest

from ..db import transactions as database
from ..errors import NotAuthenticated
from ..extensions import limiter
from ..observability import metrics

log = logging.getLogger(__name__)

# A Redis that takes longer than this to answer, resolving its name included, is of no use to a
# broadcast either.
REDIS_SECONDS = 0.5


def readiness() -> dict[str, Any]:
    """Return whether requests can be served, with what was looked at.

    Only the database decides: everything works without Redis, if not as fast. `last_broadcast`
    is how many seconds ago this process told its viewers anything, None if it never has.
    """
    checks = {
        "database": _database(),
        "redis": _redis(current_app.config["REDIS_URL"]),
        "last_broadcast": _last_broadcast(),
    }
    return {"status": "ok" if checks["database"] == "ok" else "failing", "checks": checks}


def exposition(token: str | None) -> bytes:
    """Return the metrics as Prometheus reads them. Raises NotAuthenticated for a wrong token."""
    wanted = current_app.config["METRICS_TOKEN"]
    if wanted and token is None:
        raise NotAuthenticated("Send METRICS_TOKEN as the Bearer token.", "token_missing")
    if wanted and not hmac.compare_digest((token or "").encode(), wanted.encode()):
        raise NotAuthenticated("The token is not the METRICS_TOKEN of this server.")
    return generate_latest(metrics.REGISTRY)


def _database() -> str:
    # What the service is for is taking updates: a database that can only be read is not ready.
    return "ok" if database.is_writable() else "failing"


def _redis(url: str) -> str:
    if not url:
        return "not used"
    return "ok" if cast(Any, limiter.storage).is_reachable(REDIS_SECONDS) else "failing"


def _last_broadcast() -> float | None:
    sent_at = current_app.extensions["audience"].sent_at
    return None if sent_at is None else round(time.monotonic() - sent_at, 1)
