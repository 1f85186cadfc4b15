"""Define the Prometheus metrics of this process.

Each process has its own metrics and must be scraped separately. Label values come from fixed sets,
never from client input, so clients cannot create series.

Metrics take green locks, so functions that run in a native thread (`run_in_thread`) must not use
them.
"""

import functools
import time
from collections.abc import Iterable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)

SOCKET_IO = "socket.io"
WEBSOCKET = "websocket"

# Histogram buckets in seconds: from the time on an idle loop to a statement that has timed out.
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

# Otherwise every counter has a second series with its creation time.
disable_created_metrics()  # type: ignore[no-untyped-call]

REGISTRY = CollectorRegistry()

UPDATES = Counter(
    "scoreboard_updates",
    "Attempts to update a score, by how they ended: accepted, or the code of the error",
    ["code"],
    registry=REGISTRY,
)
UPDATE_SECONDS = Histogram(
    "scoreboard_update_seconds",
    "How long an attempt to update a score took, however it ended",
    buckets=SECONDS,
    registry=REGISTRY,
)
PUSH_SECONDS = Histogram(
    "scoreboard_post_to_push_seconds",
    "From an update's arrival until it was handed to all viewers of this process",
    buckets=SECONDS,
    registry=REGISTRY,
)
CONNECTIONS = Gauge(
    "scoreboard_connections",
    "Live connections, those yet to authenticate included",
    ["kind"],
    registry=REGISTRY,
)
DELIVERIES = Counter(
    "scoreboard_deliveries",
    "Messages handed to viewers, each as often as there were viewers",
    ["kind"],
    registry=REGISTRY,
)
SLOW_CLIENTS = Counter(
    "scoreboard_slow_clients",
    "Connections closed because they could not keep up",
    registry=REGISTRY,
)
LOOP_LAG_SECONDS = Histogram(
    "scoreboard_loop_lag_seconds",
    "How late a task came that is due every half second, once somebody has connected",
    buckets=SECONDS,
    registry=REGISTRY,
)
ANOMALIES = Counter(
    "scoreboard_unusual_activity",
    "Broken rules of what is usual",
    ["rule"],
    registry=REGISTRY,
)
ACCOUNT_EVENTS = Counter(
    "scoreboard_auth_events",
    "Registrations, sign-ins, refreshes, sign-outs, and what moderators did to users, by how "
    "they ended: accepted, or the code of the error",
    ["event", "outcome"],
    registry=REGISTRY,
)
MAINTENANCE_FAILURES = Counter(
    "scoreboard_keeper_failures",
    "Tasks beside the requests that failed and will be tried again",
    ["task"],
    registry=REGISTRY,
)
DATABASE_ERRORS = Counter(
    "scoreboard_database_errors",
    "Reads and transactions that the database failed",
    registry=REGISTRY,
)
REDIS_ERRORS = Counter(
    "scoreboard_redis_errors",
    "Commands that Redis failed or took too long for",
    registry=REGISTRY,
)

# Create these series at zero: `rate` misses the first increment of a series without one.
UPDATES.labels("accepted")
ACCOUNT_EVENTS.labels("login", "wrong_credentials")
ACCOUNT_EVENTS.labels("refresh", "token_reused")
for event in ("register", "login", "refresh", "logout"):
    ACCOUNT_EVENTS.labels(event, "accepted")
for kind in (SOCKET_IO, WEBSOCKET):
    CONNECTIONS.labels(kind)
    DELIVERIES.labels(kind)


# Cache the counter of each code: `labels` takes longer than `inc`.
_updates = functools.cache(UPDATES.labels)


def count_update(code: str, seconds: float) -> None:
    """Count an attempt with its outcome and its duration in seconds."""
    _updates(code).inc()
    UPDATE_SECONDS.observe(seconds)


def count_pushed(received: Iterable[float]) -> None:
    """Record updates as pushed now; `received` are their arrival times (`time.perf_counter`)."""
    now = time.perf_counter()
    for moment in received:
        PUSH_SECONDS.observe(now - moment)


def connections() -> dict[str, int]:
    """Return the number of live connections of this process, by kind."""
    samples = (sample for metric in CONNECTIONS.collect() for sample in metric.samples)
    return {sample.labels["kind"]: int(sample.value) for sample in samples}
