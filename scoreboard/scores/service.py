"""Submitting a score: the one path, whichever door an update comes in by."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Flask, current_app
from limits import parse_many

from .. import audit
from ..activity import service as activity
from ..auth import tokens
from ..errors import InvalidInput, NotPermitted, RateLimited
from ..extensions import limiter
from ..fields import number
from ..permissions import Caller
from ..realtime import broadcast
from ..realtime.feed import Batch, Feed
from . import board
from .ledger import Ledger
from .policy import POLICIES
from .records import Update
from .schemas import receipt_schema, update_schema

# Clocks differ; more than this and a player could put an update beyond the reach of later ones.
FUTURE = timedelta(minutes=5)


def init_app(app: Flask) -> None:
    """Give the application its ledger."""
    app.extensions["present"] = board.Present()
    app.extensions["ledger"] = Ledger(POLICIES[app.config["SCORE_POLICY"]], _publish)
    app.extensions["feed"] = Feed(board.since, app.extensions["audience"].deliver)
    app.extensions["score_limits"] = parse_many(app.config["SCORE_RATE_LIMIT"])


def submit(body: object, token: str | None, origin: audit.Origin) -> dict[str, Any]:
    """Submit an update and return the 200 body.

    In this order: validate, authorize, limit, record, recalculate, broadcast, answer. Raises a
    ScoreboardError for everything a client can cause, with nothing changed.
    """
    with audit.attempt(origin, activity.observe) as attempt:
        loaded = _validate(body)
        attempt.user_id, attempt.score_value = loaded["user_id"], loaded["score_value"]
        attempt.caller = tokens.authenticate(token)
        user_id = _authorize(attempt.caller, loaded["user_id"])
        _limit(loaded["user_id"])
        update = _update(loaded, submitted_by=user_id)
        receipt = current_app.extensions["ledger"].record(update, attempt.started)
        attempt.score = receipt.score
        answer: dict[str, Any] = receipt_schema.dump(receipt)
        return answer


def top10() -> dict[str, Any]:
    """Return the top 10, highest first, as the endpoint and the messages tell it."""
    told: dict[str, Any] = current_app.extensions["present"].top10()
    return told


def _publish(batch: Batch) -> None:
    current_app.extensions["present"].offer(batch)
    broadcast.publish(batch)


def _validate(body: object) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise InvalidInput("The body must be a JSON object of at most 64 KiB.", {}, "invalid_json")
    loaded: dict[str, Any] = update_schema.load(body)
    if loaded["timestamp"] > datetime.now(UTC) + FUTURE:
        problem = {"timestamp": ["Must not be more than 5 minutes in the future."]}
        raise InvalidInput("The timestamp is in the future.", problem, "timestamp_in_future")
    return loaded


def _authorize(caller: Caller, user_id: str) -> str:
    """Return the id of the caller. Raises NotPermitted unless it may update this user's score."""
    if caller.user_id is None or not caller.may_update(user_id):
        raise NotPermitted("This token may not update that user's score.")
    return caller.user_id


def _limit(user_id: str) -> None:
    """Count one update of this user's score. Raises RateLimited if there were too many."""
    for limit in current_app.extensions["score_limits"]:
        if not limiter.limiter.hit(limit, "score", user_id):
            reset_at = limiter.limiter.get_window_stats(limit, "score", user_id).reset_time
            raise RateLimited(max(1, int(reset_at - time.time()) + 1))


def _update(loaded: dict[str, Any], submitted_by: str) -> Update:
    # A nonce has neither ':' nor '/', so the two kinds of identity are never the same.
    identity = loaded.get("nonce") or (
        f"{loaded['timestamp'].isoformat()}/{number(loaded['score_value'])}"
    )
    return Update(
        loaded["user_id"], loaded["score_value"], loaded["timestamp"], identity, submitted_by
    )
