"""Periodic work on live connections, twice a second.

Closes those that are slow, expired or revoked, sends pings, reads missed updates, and starts the
deliveries of webhooks that are due.
"""

import contextlib
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from flask import Flask
from sqlalchemy import select

from ..auth import revocations
from ..boards import service
from ..concurrency import runtime
from ..db import transactions
from ..errors import Overloaded
from ..models import BoardVersion, RevokedToken
from ..services import services
from .connections import UNAUTHORIZED

log = logging.getLogger(__name__)

# In seconds.
INTERVAL = 0.5
# Overlap of two searches for revoked tokens, because the clocks of several machines differ.
LOOK_BACK = timedelta(seconds=15)

Task = Callable[[Flask], object]


def init_app(app: Flask, close_dead_and_slow_clients: Task) -> None:
    """Start the maintenance with the server, or when the first connection opens."""

    def start() -> None:
        server = services(app).socketio.server
        server.manager.initialize()
        server.manager_initialized = True  # else the library initializes it with its first client
        observe_lag = services(app).metrics.loop_lag_seconds.observe
        # Three threads of tasks: a slow database must not delay expiry and pings, and a board that
        # freezes must not delay what is read.
        runtime.spawn(_repeat, app, (close_dead_and_slow_clients, _close_expired), observe_lag)
        search = RevokedTokenSearch()
        tasks = (_catch_up, search.end_sessions, _end_refused, _send_webhooks)
        runtime.spawn(_repeat, app, tasks)
        services(app).activity.start()
        runtime.spawn(_repeat, app, (_open_due_seasons,))

    services(app).connections.on_first_connection(start)


def _repeat(
    app: Flask,
    tasks: tuple[Task, ...],
    observe_lag: Callable[[float], object] = lambda seconds: None,
) -> None:
    """Run the tasks every INTERVAL forever. A failure is logged and the task tried again."""
    names = {task: task.__name__.strip("_") for task in tasks}
    # Each counter exists before its first failure, else PromQL's `rate` misses that.
    failures = {
        task: services(app).metrics.maintenance_failures.labels(name)
        for task, name in names.items()
    }
    while True:
        due = time.monotonic() + INTERVAL
        time.sleep(INTERVAL)
        observe_lag(max(0, time.monotonic() - due))
        for task in tasks:
            try:
                with app.app_context():
                    task(app)
            except Exception as error:
                failures[task].inc()
                log.warning("%s failed", names[task], exc_info=error)


def _close_expired(app: Flask) -> None:
    services(app).connections.sweep(time.monotonic())


def _catch_up(app: Flask) -> None:
    """Read what is missing of the ledgers that are watched here, whose versions are one query."""
    ledgers = dict(services(app).subscribers.ledgers)
    if not ledgers:
        return
    statement = select(BoardVersion.board_id, BoardVersion.version).where(
        BoardVersion.board_id.in_(ledgers)
    )
    for ledger_id, version in transactions.read(lambda c: c.execute(statement).all()):
        ledgers[ledger_id].feed.catch_up_if_behind(version)


def _open_due_seasons(app: Flask) -> None:
    """Open the seasons that are due, and open, close or freeze boards, where no update does it."""
    for ledger_id in service.due():
        with contextlib.suppress(Overloaded):  # another transaction of the ledger does it
            services(app).ledgers.get(ledger_id).bring_up_to_date()


def _send_webhooks(app: Flask) -> None:
    services(app).webhooks.start_due()


class RevokedTokenSearch:
    """Ends the sessions whose token was revoked by any process."""

    def __init__(self) -> None:
        self._searched_at = datetime.now(UTC)

    def end_sessions(self, app: Flask) -> None:
        """Close the connections whose token was revoked since the last call."""
        now = datetime.now(UTC)
        # The earlier of the two: the clock may have been set back since the last call.
        since = min(self._searched_at, now) - LOOK_BACK
        columns = RevokedToken.token_id, RevokedToken.revoked_at, RevokedToken.kept
        statement = select(*columns).where(RevokedToken.revoked_at >= since)
        rows = transactions.read(lambda c: c.execute(statement).all())
        # In one pass: thousands may have signed out while thousands are connected.
        ended = {token_id: (moment.timestamp(), kept) for token_id, moment, kept in rows}
        services(app).connections.end_sessions(ended)
        self._searched_at = now


def _end_refused(app: Flask) -> None:
    """Close connections whose token the database now refuses. Checks one batch per call."""
    checked = services(app).connections.next_user_connections(revocations.MAX_BATCH_SIZE)
    refused = revocations.refused({each.token for each in checked if each.token}) if checked else {}
    for connection in checked:
        if connection.token in refused:
            connection.close(UNAUTHORIZED, refused[connection.token].code)
