"""What this process counts and measures, for Prometheus.

Every process has its own: whoever collects them asks each. Labels are taken from sets of our own,
never from what a client sent, so that nobody outside can make series.

They take locks, which work off the loop (`transport.off_loop`) must not: count on this side of it.
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

# From a loop with nothing to do to a statement that the database has given up on.
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

# Or every counter would come with a second series that says when it was made.
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
KEEPER_FAILURES = Counter(
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

# There from the start: a rate needs a zero to rise from.
UPDATES.labels("accepted")
ACCOUNT_EVENTS.labels("login", "wrong_credentials")
ACCOUNT_EVENTS.labels("refresh", "token_reused")
for event in ("register", "login", "refresh", "logout"):
    ACCOUNT_EVENTS.labels(event, "accepted")
for kind in (SOCKET_IO, WEBSOCKET):
    CONNECTIONS.labels(kind)
    DELIVERIES.labels(kind)


# The counter of a code: `labels` takes longer to find it than `inc` to count.
_updates = functools.cache(UPDATES.labels)


def count_update(code: str, seconds: float) -> None:
    """Count an attempt that ended with this code and took this long."""
    _updates(code).inc()
    UPDATE_SECONDS.observe(seconds)


def count_pushed(received: Iterable[float]) -> None:
    """Count updates as pushed now; `received` is when they came in, by time.perf_counter."""
    now = time.perf_counter()
    for moment in received:
        PUSH_SECONDS.observe(now - moment)


def connections() -> dict[str, int]:
    """Return the live connections of this process, by kind."""
    samples = (sample for metric in CONNECTIONS.collect() for sample in metric.samples)
    return {sample.labels["kind"]: int(sample.value) for sample in samples}
