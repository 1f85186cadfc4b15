"""Periodic maintenance of connections: expiry, pings, missed updates and revoked tokens."""

import logging
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

from flask import Flask
from sqlalchemy import select

from ..auth import revocations
from ..concurrency import runtime
from ..db import transactions as database
from ..models import BoardVersion, RevokedToken
from ..services import services
from .connections import UNAUTHORIZED

log = logging.getLogger(__name__)

SECONDS = 0.5
# Overlap of two searches for revoked tokens, because the clocks of several machines differ.
LOOK_BACK = timedelta(seconds=15)


def init_app(app: Flask) -> None:
    """Start the maintenance when the first connection opens."""
    services(app).connections.on_first_connection(lambda: _start(app))


def _start(app: Flask) -> None:
    services(app).socketio.server.manager.initialize()
    # Two tasks: a slow database must not delay expiry and pings.
    runtime.spawn(_repeat, app, (_close_expired,), services(app).metrics.loop_lag_seconds.observe)
    runtime.spawn(_repeat, app, (_catch_up, Sessions().end_sessions, _end_refused))


def _repeat(
    app: Flask,
    tasks: Iterable[Callable[[Flask], object]],
    observe_lag: Callable[[float], object] = lambda seconds: None,
) -> None:
    """Run the tasks every SECONDS forever. A failure is logged and the task tried again."""
    while True:
        due = time.monotonic() + SECONDS
        time.sleep(SECONDS)
        observe_lag(max(0, time.monotonic() - due))
        for task in tasks:
            try:
                with app.app_context():
                    task(app)
            except Exception as error:
                services(app).metrics.maintenance_failures.labels(task.__name__.strip("_")).inc()
                log.warning("%s failed", task.__name__.strip("_"), exc_info=error)


def _close_expired(app: Flask) -> None:
    services(app).connections.sweep(time.monotonic())


def _catch_up(app: Flask) -> None:
    version = database.read(lambda c: c.execute(select(BoardVersion.version)).scalar_one())
    services(app).feed.catch_up_if_behind(version)


class Sessions:
    """Closes connections whose token was revoked by any process since the last search."""

    def __init__(self) -> None:
        self._looked_at = datetime.now(UTC)

    def end_sessions(self, app: Flask) -> None:
        """Close the connections whose token was revoked since the last call."""
        now = datetime.now(UTC)
        # The earlier of the two: the clock may have been set back since the last call.
        since = min(self._looked_at, now) - LOOK_BACK
        statement = select(RevokedToken.token_id, RevokedToken.revoked_at).where(
            RevokedToken.revoked_at >= since
        )
        rows = database.read(lambda c: c.execute(statement).all())
        # In one pass: thousands may have signed out while thousands are connected.
        ended = {token_id: revoked_at.timestamp() for token_id, revoked_at in rows}
        services(app).connections.end_sessions(ended)
        self._looked_at = now


def _end_refused(app: Flask) -> None:
    """Close connections of users whom the database now refuses, whichever process changed that.

    Checks one batch per call: with thousands connected, each is checked every few seconds.
    """
    held = services(app).connections.next_user_connections(revocations.MAX_BATCH_SIZE)
    refused = revocations.refused({each.token for each in held if each.token}) if held else {}
    for connection in held:
        if connection.token in refused:
            connection.close(UNAUTHORIZED, refused[connection.token].code)
