"""Anomaly detection: checks every finished attempt, and never delays or fails one."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from flask import Flask

from ..concurrency import runtime
from ..http.request import ClientInfo
from ..observability import audit
from ..services import services
from . import flags
from .rules import Anomaly, Jump, Refusals, Regularity, UsersPerAddress, per_key

log = logging.getLogger(__name__)

# Rules by the name of the setting with their bound; 0 disables a rule.
RULES: dict[str, type[Any]] = {
    "ACTIVITY_JUMP": Jump,
    "ACTIVITY_REFUSALS": Refusals,
    "ACTIVITY_USERS_PER_ADDRESS": UsersPerAddress,
    "ACTIVITY_REGULARITY": Regularity,
}


class AnomalyDetector:
    """The rules that are enabled in this process."""

    def __init__(self, app: Flask) -> None:
        self.rules = [rule(app.config[name]) for name, rule in RULES.items() if app.config[name]]
        self.now: Callable[[], datetime] = lambda: datetime.now(UTC)
        self._app = app
        self._lock = runtime.lock()
        # By user, rule and hour: an iterator that yields True once.
        self._first_time = per_key(lambda: iter([True]))

    def observe(self, attempt: audit.Attempt) -> None:
        """Check a finished attempt. Logs a rule that fails; raises nothing.

        Holds a lock briefly where requests run in threads. Never blocks for I/O.
        """
        for rule in self.rules:
            try:
                with self._lock:
                    anomalies = rule.find(attempt)
                for anomaly in anomalies:
                    self._report(anomaly, attempt.client)
            except Exception:
                log.exception("an anomaly rule failed")

    def _report(self, anomaly: Anomaly, client: ClientInfo) -> None:
        """Log and count an anomaly, and flag its user in the background, once per rule and hour."""
        audit.anomaly(client, *anomaly)
        services(self._app).metrics.anomalies.labels(anomaly.rule).inc()
        rule, user_id, detail = anomaly
        now = self.now()
        if user_id and next(self._first_time(user_id, rule, flags.hour_of(now)), False):
            runtime.spawn(self._write, user_id, rule, detail, now)

    def _write(self, *flag: Any) -> None:
        with self._app.app_context():
            flags.write(*flag)


def init_app(app: Flask) -> None:
    """Create the application's detector."""
    services(app).anomalies = AnomalyDetector(app)


def observe(attempt: audit.Attempt) -> None:
    """Check a finished attempt with the rules of the current application."""
    services().anomalies.observe(attempt)
