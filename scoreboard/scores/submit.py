"""Score submission: the one path of every update, from any transport, to the ledger."""

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Flask, current_app

from ..auth import tokens
from ..boards.board import BoardState
from ..concurrency import runtime
from ..db import rate_limits
from ..errors import (
    InvalidInput,
    NotPermitted,
    Overloaded,
    RateLimited,
    ScoreboardError,
    UnknownBoard,
    translate,
)
from ..http.fields import json_object, number
from ..http.request import ClientInfo
from ..models import MAIN
from ..observability import audit
from ..permissions import Caller
from ..services import services
from . import tickets
from .ledger import Ledgers, Publish
from .policy import check_value
from .records import PLAYERS_MAY_NOT, Receipt, Update
from .schemas import batch_schema, ticket_request_schema, update_schema

# Clocks differ; a timestamp further ahead than this is refused as a mistake.
MAX_CLOCK_AHEAD = timedelta(minutes=5)


def init_app(app: Flask, publish: Publish, observe: Callable[[audit.Attempt], object]) -> None:
    """Create the application's ledgers, with callbacks for committed batches and ended attempts."""
    services(app).ledgers = Ledgers(services(app).boards, publish)
    services(app).void_lock = threading.Lock()
    services(app).observe_attempt = observe


def submit(body: object, token: str | None, client: ClientInfo) -> dict[str, Any]:
    """Submit an update and return the 200 body. Blocks until the commit.

    Validates, authorizes and counts against the rate limit; then the ledger records, commits and
    publishes. Raises a ScoreboardError, with nothing changed, for everything a client can cause.
    """
    with _attempt(client) as attempt:
        try:
            board, loaded = _validate(body)
        except Exception:
            attempt.claimed = tokens.claimed(token)
            raise
        attempt.user_id, attempt.score_value = loaded["user_id"], loaded["score_value"]
        attempt.caller = tokens.authenticate(token, client)
        submitted_by = _authorize(
            attempt.caller,
            attempt.caller.may_update(loaded["user_id"]),
            "This token may not update that user's score.",
        )
        is_player = not attempt.caller.may("score:any")
        _authorize(attempt.caller, board.submit == "player" or not is_player, PLAYERS_MAY_NOT)
        (quota,) = rate_limits.count("SCORE_RATE_LIMIT", {loaded["user_id"]: 1})
        if quota.amount < 1:
            raise RateLimited(quota.retry_after)
        update = _update(loaded, submitted_by, attempt.started, is_player)
        receipt = services().ledgers.get(board.board_id).record(update)
        attempt.score = receipt.score
        return receipt.body()


def issue_ticket(body: object, token: str | None) -> dict[str, Any]:
    """Return a run ticket of the caller. Blocks for the checks of the token and the board.

    Raises InvalidInput, NotAuthenticated, NotPermitted, RateLimited or Overloaded. Tickets have the
    limits of updates, counted apart.
    """
    caller = tokens.authenticate(token)
    is_allowed = caller.user_id is not None and caller.may_update(caller.user_id)
    user_id = _authorize(caller, is_allowed, "This token may not update scores.")
    board = _board(ticket_request_schema.load(json_object(body))["board"])
    (quota,) = rate_limits.count("SCORE_RATE_LIMIT", {f"ticket/{user_id}": 1})
    if quota.amount < 1:
        raise RateLimited(quota.retry_after)
    return tickets.issue(user_id, board)


def submit_all(body: object, token: str | None, client: ClientInfo) -> dict[str, Any]:
    """Submit a batch of updates and return the 200 body: a result for each, in the order given.

    Each update is handled as by `submit`, except that all share one token. Raises a
    ScoreboardError, with nothing changed, if the batch as a whole is refused.
    """
    with _attempt(client, is_batch=True) as batch:
        try:
            max_kib = current_app.config["MAX_BATCH_CONTENT_LENGTH"] // 1024
            bodies = batch_schema.load(json_object(body, max_kib))["updates"]
        except Exception:
            batch.claimed = tokens.claimed(token)
            raise
        batch.caller = tokens.authenticate(token, client)
        submitted_by = _authorize(
            batch.caller,
            batch.caller.may("score:any"),
            "Batches need a token that may update anyone's score.",
        )
        attempts = [
            audit.Attempt(client, batch.started, caller=batch.caller, observe=batch.observe)
            for _ in bodies
        ]
        checked = _check(attempts, bodies, submitted_by)
        return {"results": _results(attempts, _record(checked))}


def submit_by_hand(loaded: dict[str, Any], user_id: str, submitted_by: str) -> Receipt:
    """Record a score that an admin enters, and return its receipt. Blocks until the commit.

    `loaded` has a `score_value` or a `change` of the current score, and may have a `board`. The
    rules are those of any update, except that no rate limit applies, that the board may be for
    scorers only, and that the score counts from its commit on. Raises a ScoreboardError, with
    nothing changed.
    """
    is_change = "change" in loaded
    board = _board(loaded.get("board", MAIN))
    update = Update(
        *(user_id, loaded["change" if is_change else "score_value"], datetime.now(UTC)),
        # Other identities have no colon before their first digit.
        f"hand:{uuid.uuid4().hex}",
        submitted_by,
        names_board="board" in loaded,
        by_hand=True,
        is_change=is_change,
    )
    try:
        return services().ledgers.get(board.board_id).record(update)
    except InvalidInput as error:
        if is_change and "score_value" in error.fields:
            error.fields["change"] = error.fields.pop("score_value")
        raise


@contextmanager
def _attempt(client: ClientInfo, is_batch: bool = False) -> Iterator[audit.Attempt]:
    """Log and observe an attempt. Overloaded gets status 500: the specification allows no 503."""
    observe = services().observe_attempt
    with audit.Attempt(client, observe=observe, is_batch=is_batch) as attempt:
        try:
            yield attempt
        except Overloaded as error:
            raise Overloaded(error.retry_after, status=500) from error


def _validate(body: object) -> tuple[BoardState, dict[str, Any]]:
    """Return the board and the loaded update, with `achieved_at`.

    Raises ValidationError or InvalidInput. Blocks for a read if the board is not in the cache.
    """
    loaded = update_schema.fast_load(json_object(body))
    value, timestamp, now = loaded["score_value"], loaded["timestamp"], datetime.now(UTC)
    if timestamp > now + MAX_CLOCK_AHEAD:
        problem = {"timestamp": ["Must not be more than 5 minutes in the future."]}
        raise InvalidInput("The timestamp is in the future.", problem, "timestamp_in_future")
    board = _board(loaded.get("board", MAIN))
    check_value(board, value)
    # Stored as now, else updates sent after it would count as late until the clock reaches it.
    return board, {**loaded, "achieved_at": min(timestamp, now)}


def _board(board_id: str) -> BoardState:
    """Return the board to update. Raises InvalidInput if it takes no updates of its own."""
    try:
        board = services().boards.get(board_id)
    except UnknownBoard as error:
        raise error.in_update() from None
    if board.source:
        problem = {"board": [f"Send the update to {board.source}: it counts here as well."]}
        message = f"This board takes its scores from the board {board.source}."
        raise InvalidInput(message, problem, "board_derived")
    return board


def _authorize(caller: Caller, is_allowed: bool, refusal: str) -> str:
    """Return the caller's user id. Raises NotPermitted."""
    if caller.user_id is None or not is_allowed:
        raise NotPermitted(refusal)
    return caller.user_id


def _update(loaded: dict[str, Any], submitted_by: str, received: float, by_player: bool) -> Update:
    user_id, value, timestamp = loaded["user_id"], loaded["score_value"], loaded["timestamp"]
    # A nonce has neither ':' nor '/', so the two forms of identity never collide.
    identity = loaded.get("nonce") or f"{timestamp.isoformat()}/{number(value)}"
    achieved_at = loaded["achieved_at"]
    sent_timestamp = timestamp if timestamp != achieved_at else None
    ticket = loaded.get("ticket")
    return Update(
        *(user_id, value, achieved_at, identity, submitted_by, sent_timestamp, received),
        names_board="board" in loaded,
        season=loaded.get("season"),
        by_player=by_player,
        ticket=tickets.read(ticket) if ticket and by_player else None,
    )


def _check(
    attempts: list[audit.Attempt], bodies: list[object], submitted_by: str
) -> list[tuple[str, Update] | Exception]:
    """Return for each body its board and the update to record, or the error. Yields to the loop.

    If the rate limit allows only some of a user's valid updates, it allows the first.
    """
    checked: list[tuple[str, Update] | Exception] = []
    indexes: dict[str, list[int]] = {}  # of the valid updates, by user
    for attempt, body in runtime.yielding(zip(attempts, bodies, strict=True)):
        try:
            board, loaded = _validate(body)
            attempt.user_id, attempt.score_value = loaded["user_id"], loaded["score_value"]
            indexes.setdefault(loaded["user_id"], []).append(len(checked))
            update = _update(loaded, submitted_by, attempt.started, by_player=False)
            checked.append((board.board_id, update))
        except Exception as error:
            checked.append(translate(error))
    amounts = {user_id: len(valid) for user_id, valid in indexes.items()}
    quotas = rate_limits.count("SCORE_RATE_LIMIT", amounts)
    for valid, quota in zip(indexes.values(), quotas, strict=True):
        for index in valid[quota.amount :]:
            checked[index] = RateLimited(quota.retry_after)
    return checked


def _record(checked: list[tuple[str, Update] | Exception]) -> list[Receipt | Exception]:
    """Record the updates of each board in order; return a receipt or an error for each item."""
    outcomes: list[Receipt | Exception] = []
    of_board: dict[str, list[Update]] = {}
    for each in checked:
        if isinstance(each, tuple):
            of_board.setdefault(each[0], []).append(each[1])
    recorded = {
        board_id: iter(services().ledgers.get(board_id).record_all(updates))
        for board_id, updates in of_board.items()
    }
    for each in checked:
        outcomes.append(next(recorded[each[0]]) if isinstance(each, tuple) else each)
    return outcomes


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
            continue
        error = translate(outcome)
        errors.append(error)
        results.append({"status": error.status, "body": error.body()})
        if error.retry_after:
            results[-1]["retry_after"] = error.retry_after
    audit.end_all(runtime.yielding(zip(attempts, errors, strict=True)))
    return results
