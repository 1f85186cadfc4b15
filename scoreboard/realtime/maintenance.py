"""Periodic maintenance of the connections: expiry and pings, missed updates, ended sessions."""

import logging
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

from flask import Flask
from sqlalchemy import select

from ..auth import tokens
from ..concurrency import runtime as transport
from ..db import transactions as database
from ..models import BoardVersion, RevokedToken
from ..observability import metrics
from .connections import UNAUTHORIZED

log = logging.getLogger(__name__)

SECONDS = 0.5
# How far back to look for ended sessions: clocks of several machines are never quite the same.
LOOK_BACK = timedelta(seconds=15)


def init_app(app: Flask) -> None:
    """Start the maintenance of the application's connections as soon as there is one."""
    app.extensions["connections"].when_first(lambda: _start(app))


def _start(app: Flask) -> None:
    app.extensions["socketio"].server.manager.initialize()
    # Each in a task of its own: whatever the database does, connections expire and are pinged.
    transport.spawn(_repeat, app, (_close_expired,), metrics.LOOP_LAG_SECONDS.observe)
    transport.spawn(_repeat, app, (_catch_up, Sessions().end_sessions, _end_refused))


def _repeat(
    app: Flask,
    tasks: Iterable[Callable[[Flask], object]],
    observe_lag: Callable[[float], object] = lambda seconds: None,
) -> None:
    """Run the tasks every SECONDS, forever; a failure is logged and tried again."""
    while True:
        due = time.monotonic() + SECONDS
        time.sleep(SECONDS)
        observe_lag(max(0, time.monotonic() - due))
        for task in tasks:
            try:
                with app.app_context():
                    task(app)
            except Exception as error:
                metrics.KEEPER_FAILURES.labels(task.__name__.strip("_")).inc()
                log.warning("%s failed", task.__name__.strip("_"), exc_info=error)


def _close_expired(app: Flask) -> None:
    app.extensions["connections"].sweep(time.monotonic())


def _catch_up(app: Flask) -> None:
    version = database.read(lambda c: c.execute(select(BoardVersion.version)).scalar_one())
    app.extensions["feed"].catch_up_if_behind(version)


class Sessions:
    """The sessions that other processes end, from one look at them to the next."""

    def __init__(self) -> None:
        self._looked_at = datetime.now(UTC)

    def end_sessions(self, app: Flask) -> None:
        """Close the connections of those that were ended since the last look."""
        now = datetime.now(UTC)
        # The earlier of the two: meanwhile the clock may have been set forward, or back.
        since = min(self._looked_at, now) - LOOK_BACK
        statement = select(RevokedToken.token_id, RevokedToken.revoked_at).where(
            RevokedToken.revoked_at >= since
        )
        rows = database.read(lambda c: c.execute(statement).all())
        # All in one go: thousands may have signed out, and thousands be connected.
        ended = {token_id: revoked_at.timestamp() for token_id, revoked_at in rows}
        app.extensions["connections"].end_sessions(ended)
        self._looked_at = now


def _end_refused(app: Flask) -> None:
    """Close what is held by users whom the database refuses by now, whoever wrote that there.

    Some at a time: with thousands connected, each is looked at once in some seconds.
    """
    held = app.extensions["connections"].next_of_users(tokens.MOST_TOGETHER)
    refused = tokens.refused({each.token for each in held if each.token}) if held else {}
    for connection in held:
        if connection.token in refused:
            connection.close(UNAUTHORIZED, refused[connection.token].code)
