"""Score submission: the one path of every update, from any transport, to the ledger."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Flask, current_app

from ..auth import tokens
from ..concurrency import runtime
from ..db import rate_limits as limit_storage
from ..errors import InvalidInput, NotPermitted, Overloaded, RateLimited, ScoreboardError, translate
from ..http.fields import number
from ..http.request import Origin
from ..observability import audit
from ..permissions import Caller
from ..services import services
from .ledger import Ledger, Publish
from .policy import DECIMALS, POLICIES, has_few_decimals
from .records import Receipt, Update
from .schemas import batch_schema, update_schema

# Clocks differ; a timestamp further ahead than this is refused as a mistake.
FUTURE = timedelta(minutes=5)
# Maximum bytes of a batch body: enough for MAX_BATCH_UPDATES updates of any kind.
MAX_BATCH_BYTES = 256 * 1024


def init_app(app: Flask, publish: Publish, observe: Callable[[audit.Attempt], object]) -> None:
    """Create the application's ledger.

    `publish` is called with each committed batch, `observe` with each attempt that has ended.
    """
    services(app).ledger = Ledger(POLICIES[app.config["SCORE_POLICY"]], publish)
    services(app).void_lock = threading.Lock()
    services(app).observe_attempt = observe


def submit(body: object, token: str | None, origin: Origin) -> dict[str, Any]:
    """Submit an update and return the 200 body.

    In this order: validate, authorize, limit, record, recalculate, broadcast, respond. Raises a
    ScoreboardError, with nothing changed, for everything a client can cause. Blocks until the
    commit.
    """
    with (
        _attempt(origin) as attempt,
        _overload_as_500(),
    ):
        with _naming(attempt, token):
            loaded = _validate(body)
        attempt.user_id, attempt.score_value = loaded["user_id"], loaded["score_value"]
        attempt.caller = tokens.authenticate(token)
        user_id = _authorize(attempt.caller, loaded["user_id"])
        _limit(loaded["user_id"])
        update = _update(loaded, submitted_by=user_id)
        receipt = services().ledger.record(update, attempt.started)
        attempt.score = receipt.score
        return receipt.body()


def submit_all(body: object, token: str | None, origin: Origin) -> dict[str, Any]:
    """Submit a batch of updates and return the 200 body: a result for each, in the order given.

    Each update is handled as by `submit`, except that all share one token. Raises a
    ScoreboardError, with nothing changed, if the batch as a whole is refused.
    """
    with (
        audit.Attempt(origin, observe=services().observe_attempt, is_batch=True) as batch,
        _overload_as_500(),
    ):
        with _naming(batch, token):
            bodies = _validate_batch(body)
        batch.caller = tokens.authenticate(token)
        submitted_by = _authorize_batch(batch.caller)
        attempts = [
            audit.Attempt(origin, batch.started, caller=batch.caller, observe=batch.observe)
            for _ in bodies
        ]
        judged = _judge(attempts, bodies, submitted_by)
        updates = [each for each in judged if isinstance(each, Update)]
        recorded = iter(services().ledger.record_all(updates, batch.started))
        outcomes = [next(recorded) if isinstance(each, Update) else each for each in judged]
        return {"results": _results(attempts, outcomes)}


def _attempt(origin: Origin, is_batch: bool = False) -> audit.Attempt:
    observe = services().observe_attempt
    return audit.Attempt(origin, observe=observe, is_batch=is_batch)


@contextmanager
def _overload_as_500() -> Iterator[None]:
    """Raise Overloaded with status 500: the specification allows no 503 here."""
    try:
        yield
    except Overloaded as error:
        raise Overloaded(error.retry_after, status=500) from error


@contextmanager
def _naming(attempt: audit.Attempt, token: str | None) -> Iterator[None]:
    """Set the claimed caller of an attempt refused in this context, for the log only.

    Checks the token's signature and expiry but not the database: a malformed body must not cost a
    query, and a failing database must not change the response.
    """
    try:
        yield
    except Exception:
        attempt.claimed = tokens.claimed(token)
        raise


def _validate(body: object) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise InvalidInput("The body must be a JSON object of at most 64 KiB.", {}, "invalid_json")
    loaded: dict[str, Any] = update_schema.fast_load(body)
    now = datetime.now(UTC)
    if loaded["timestamp"] > now + FUTURE:
        problem = {"timestamp": ["Must not be more than 5 minutes in the future."]}
        raise InvalidInput("The timestamp is in the future.", problem, "timestamp_in_future")
    if current_app.config["SCORE_POLICY"] == "total" and not has_few_decimals(
        loaded["score_value"]
    ):
        problem = {"score_value": [f"Must have at most {DECIMALS} decimals."]}
        raise InvalidInput("The value has too many decimals to be added up exactly.", problem)
    # A timestamp ahead of the clock counts as now: no later update may be older than this one.
    return {**loaded, "achieved_at": min(loaded["timestamp"], now)}


def _validate_batch(body: object) -> list[object]:
    if not isinstance(body, dict):
        problem = f"The body must be a JSON object of at most {MAX_BATCH_BYTES // 1024} KiB."
        raise InvalidInput(problem, {}, "invalid_json")
    updates: list[object] = batch_schema.load(body)["updates"]
    return updates


def _authorize(caller: Caller, user_id: str) -> str:
    """Return the caller's id. Raises NotPermitted unless it may update this user's score."""
    if caller.user_id is None or not caller.may_update(user_id):
        raise NotPermitted("This token may not update that user's score.")
    return caller.user_id


def _authorize_batch(caller: Caller) -> str:
    """Return the caller's id. Raises NotPermitted unless it may update anyone's score."""
    if caller.user_id is None or not caller.may("score:any"):
        raise NotPermitted("Batches need a token that may update anyone's score.")
    return caller.user_id


def _limit(user_id: str) -> None:
    """Count one update against this user's rate limit. Raises RateLimited; yields to the loop."""
    (room,) = limit_storage.count("SCORE_RATE_LIMIT", {user_id: 1})
    if room.amount < 1:
        raise RateLimited(room.retry_after)


def _update(loaded: dict[str, Any], submitted_by: str) -> Update:
    # A nonce has neither ':' nor '/', so the two forms of identity never collide.
    identity = loaded.get("nonce") or (
        f"{loaded['timestamp'].isoformat()}/{number(loaded['score_value'])}"
    )
    timestamp, achieved_at = loaded["timestamp"], loaded["achieved_at"]
    return Update(
        loaded["user_id"],
        loaded["score_value"],
        achieved_at,
        identity,
        submitted_by,
        sent_timestamp=timestamp if timestamp != achieved_at else None,
    )


def _judge(
    attempts: list[audit.Attempt], bodies: list[object], submitted_by: str
) -> list[Update | Exception]:
    """Return for each body the update to record, or the error. Yields to the loop.

    If the rate limit allows only some of a user's valid updates, these are the first ones.
    """
    judged: list[Update | Exception] = []
    valid: dict[str, list[int]] = {}
    for attempt, body in runtime.yielding(zip(attempts, bodies, strict=True)):
        try:
            loaded = _validate(body)
            attempt.user_id, attempt.score_value = loaded["user_id"], loaded["score_value"]
            judged.append(_update(loaded, submitted_by))
            valid.setdefault(loaded["user_id"], []).append(len(judged) - 1)
        except Exception as error:
            judged.append(translate(error))
    amounts = {user_id: len(places) for user_id, places in valid.items()}
    rooms = limit_storage.count("SCORE_RATE_LIMIT", amounts)
    for places, room in zip(valid.values(), rooms, strict=True):
        for place in places[room.amount :]:
            judged[place] = RateLimited(room.retry_after)
    return judged


def _results(
    attempts: list[audit.Attempt], outcomes: list[Receipt | Exception]
) -> list[dict[str, Any]]:
    """Log the end of each attempt and return the results to send. Yields to the loop."""
    results: list[dict[str, Any]] = []
    errors: list[ScoreboardError | None] = []
    for attempt, outcome in runtime.yielding(zip(attempts, outcomes, strict=True)):
        if isinstance(outcome, Receipt):
            attempt.score = outcome.score
            errors.append(None)
            results.append({"status": 200, "body": outcome.body()})
        else:
            error = translate(outcome)
            errors.append(error)
            results.append({"status": error.status, "body": error.body(), **_wait(error)})
    audit.end_all(runtime.yielding(zip(attempts, errors, strict=True)))
    return results


def _wait(error: ScoreboardError) -> dict[str, int]:
    if isinstance(error, (RateLimited, Overloaded)):
        return {"retry_after": error.retry_after}
    return {}
