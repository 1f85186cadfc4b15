"""The Prometheus metrics of one application.

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
    ProcessCollector,
    disable_created_metrics,
)

# Kinds of live connections.
SOCKET_IO, WEBSOCKET = "socket.io", "websocket"

# Histogram buckets in seconds: from the time on an idle loop to a statement that has timed out.
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

# Otherwise every counter has a second series with its creation time.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """The metrics of one application in one process; each process must be scraped separately.

    Label values come from fixed sets, never from client input, so clients cannot create series.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)  # memory, CPU time, open files
        counter = functools.partial(Counter, registry=self.registry)
        histogram = functools.partial(Histogram, registry=self.registry, buckets=SECONDS)
        text = "Attempts to update a score, by outcome: accepted, or the error code"
        self.updates = counter("scoreboard_updates", text, ["code"])
        text = "Duration of an attempt to update a score"
        self.update_seconds = histogram("scoreboard_update_seconds", text)
        text = "Time from an update's arrival until it was sent to all subscribers of this process"
        self.push_seconds = histogram("scoreboard_post_to_push_seconds", text)
        text = "Live connections, authenticated or not"
        self.connections = Gauge("scoreboard_connections", text, ["kind"], registry=self.registry)
        text = "Messages sent to subscribers, counted once per subscriber"
        self.deliveries = counter("scoreboard_deliveries", text, ["kind"])
        text = "Connections closed because the client was too slow"
        self.slow_clients = counter("scoreboard_slow_clients", text)
        text = "Delay of a task that is due every half second, from the first connection on"
        self.loop_lag_seconds = histogram("scoreboard_loop_lag_seconds", text)
        text = "Wait of callers that a queue did not admit at once, until admitted or refused"
        self.queue_wait_seconds = histogram("scoreboard_queue_wait_seconds", text, ["queue"])
        text = "Anomalies found, by rule"
        self.anomalies = counter("scoreboard_unusual_activity", text, ["rule"])
        text = "Account events and moderation of users, by outcome: accepted, or the error code"
        self.account_events = counter("scoreboard_auth_events", text, ["event", "outcome"])
        text = "Failed runs of maintenance tasks, which are retried"
        self.maintenance_failures = counter("scoreboard_keeper_failures", text, ["task"])
        text = "Attempts to deliver to a webhook, by outcome: delivered, retried or failed"
        self.webhook_attempts = counter("scoreboard_webhook_attempts", text, ["outcome"])
        text = "Database reads and transactions that failed"
        self.database_errors = counter("scoreboard_database_errors", text)
        text = "Redis commands that failed or timed out"
        self.redis_errors = counter("scoreboard_redis_errors", text)
        self._create_series()
        # Cache the counter of each code: `labels` takes longer than `inc`.
        self._updates_of = functools.cache(self.updates.labels)

    def _create_series(self) -> None:
        """Create series at zero: PromQL's `rate` misses the increment that creates a series."""
        for code in ("accepted", "overloaded", "server_error"):
            self.updates.labels(code)
        for rule in ("jump", "refusals", "regularity", "users_per_address"):
            self.anomalies.labels(rule)
        self.account_events.labels("login", "wrong_credentials")
        self.account_events.labels("refresh", "token_reused")
        for event in ("register", "login", "refresh", "logout"):
            self.account_events.labels(event, "accepted")
        for outcome in ("delivered", "retried", "failed"):
            self.webhook_attempts.labels(outcome)
        for kind in (SOCKET_IO, WEBSOCKET):
            self.connections.labels(kind)
            self.deliveries.labels(kind)

    def count_update(self, code: str, seconds: float) -> None:
        """Count an attempt with its outcome and its duration in seconds."""
        self._updates_of(code).inc()
        self.update_seconds.observe(seconds)

    def count_pushed(self, received: Iterable[float]) -> None:
        """Observe the time from arrival to push, now, of each update.

        `received` are the arrival times by time.perf_counter.
        """
        now = time.perf_counter()
        for moment in received:
            self.push_seconds.observe(now - moment)

    def open_connections(self) -> dict[str, int]:
        """Return the number of live connections of this process, by kind."""
        samples = (sample for metric in self.connections.collect() for sample in metric.samples)
        return {sample.labels["kind"]: int(sample.value) for sample in samples}
