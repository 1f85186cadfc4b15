"""Watching for unusual activity: after every attempt, never in its way."""

import logging
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Protocol

from flask import Flask, current_app

from .. import audit, metrics
from ..realtime import transport
from . import marks
from .rules import Hit, Jump, Memory, Refusals, Regularity, UsersPerAddress

log = logging.getLogger(__name__)

RULES: dict[str, Callable[..., "Rule"]] = {
    "ACTIVITY_JUMP": Jump,
    "ACTIVITY_REFUSALS": Refusals,
    "ACTIVITY_USERS_PER_ADDRESS": UsersPerAddress,
    "ACTIVITY_REGULARITY": Regularity,
}


class Rule(Protocol):
    """What every rule can do."""

    def hits(self, attempt: audit.Attempt) -> Iterator[Hit]:
        """Take note of an attempt and tell what is unusual about it."""


class Activity:
    """The rules that are on in this process."""

    def __init__(self, app: Flask) -> None:
        self.rules = [rule(app.config[name]) for name, rule in RULES.items() if app.config[name]]
        self.now: Callable[[], datetime] = lambda: datetime.now(UTC)
        self._app = app
        self._lock = threading.Lock()
        self._marked: Memory[None] = Memory(lambda: None)

    def observe(self, attempt: audit.Attempt) -> None:
        """Try the rules on an attempt that has ended. One that fails is logged, never raised."""
        for rule in self.rules:
            try:
                with self._lock:
                    hits = list(rule.hits(attempt))
                for hit in hits:
                    self._report(hit, attempt.origin)
            except Exception:
                log.exception("a rule of unusual activity failed")

    def _report(self, hit: Hit, origin: audit.Origin) -> None:
        """Log, count and mark a hit: every one passes here."""
        audit.unusual_activity(origin, hit.rule, hit.user_id, hit.detail)
        metrics.UNUSUAL.labels(hit.rule).inc()
        if hit.user_id:
            self._mark(hit.user_id, hit, self.now())

    def _mark(self, user_id: str, hit: Hit, now: datetime) -> None:
        """Have the user marked, in the background and only once an hour for the same."""
        key = (user_id, hit.rule, marks.hour_of(now))
        with self._lock:
            if key in self._marked:
                return
            self._marked.of(key)
        transport.spawn(self._write, user_id, hit, now)

    def _write(self, user_id: str, hit: Hit, now: datetime) -> None:
        with self._app.app_context():
            marks.write(user_id, hit.rule, hit.detail, now)


def init_app(app: Flask) -> None:
    """Give the application its rules."""
    app.extensions["activity"] = Activity(app)


def observe(attempt: audit.Attempt) -> None:
    """Try the rules of this application on an attempt that has ended."""
    current_app.extensions["activity"].observe(attempt)
