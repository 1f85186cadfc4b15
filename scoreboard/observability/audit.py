"""Write the audit log: a JSON line per score update, account event, moderation and anomaly."""

import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from marshmallow import ValidationError

from ..errors import ScoreboardError, translate
from ..http.fields import number
from ..http.request import ClientInfo
from ..permissions import Caller
from ..services import services

log = logging.getLogger("scoreboard.audit")
_encode = json.JSONEncoder().encode


@dataclass(eq=False, slots=True)
class Attempt:
    """The loggable facts of an attempt to update a score; never a token or a whole body.

    As a context manager it logs the outcome, converts an error to a ScoreboardError, and calls
    `observe(attempt)`, which must not raise. With `is_batch` it does so for errors only: `end_all`
    ends the updates of a batch.

    `started` is by `time.perf_counter`; `score` is the user's score after an accepted update.
    `claimed` is the user id and role in a valid token, if the attempt ended before the token was
    looked up: the user may be suspended or the token revoked.
    """

    client: ClientInfo
    started: float = field(default_factory=time.perf_counter)
    user_id: str | None = None
    score_value: float | None = None
    caller: Caller | None = None
    claimed: tuple[str | None, str] | None = None
    score: float | None = None
    status: int | None = None
    code: str | None = None
    observe: Callable[["Attempt"], object] | None = None
    is_batch: bool = False

    def __enter__(self) -> "Attempt":
        services().attempts_in_progress.add(self)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            if isinstance(error, Exception):
                translated = translate(error)
                end_all([(self, translated)])
                if translated is not error:
                    raise translated from error
            elif error is None and not self.is_batch:
                end_all([(self, None)])
        finally:
            services().attempts_in_progress.discard(self)


def end_all(ended: Iterable[tuple[Attempt, ScoreboardError | None]]) -> None:
    """Log attempts in one write, each with its error or None if accepted; then observe each."""
    attempts, lines, codes = [], [], []
    for attempt, error in ended:
        attempts.append(attempt)
        codes.append(error.code if error else "accepted")
        lines.append(_end(attempt, error.status if error else 200, codes[-1]))
    services().recent.keep(lines, codes)
    if log.isEnabledFor(logging.INFO):
        # `log.info` would also look up its caller, which doubles the time.
        log.callHandlers(log.makeRecord(log.name, logging.INFO, "", 0, "\n".join(lines), (), None))
    for attempt in attempts:
        if attempt.observe:
            attempt.observe(attempt)


def _end(attempt: Attempt, status: int, code: str) -> str:
    """Set the outcome of the attempt, count it and return its log line.

    The line equals the output of json.dumps, which takes four times as long for a dictionary.
    """
    seconds = time.perf_counter() - attempt.started
    attempt.status, attempt.code = status, code
    services().metrics.count_update(code, seconds)
    caller, role = attempt.claimed or (None, None)
    if attempt.caller:
        caller, role = attempt.caller.user_id, attempt.caller.role
    transport, address, request_id = map(_text, attempt.client)
    value = "null" if attempt.score_value is None else number(attempt.score_value)
    return (
        f'{{"time": "{_now()}", "event": "score_update", "request_id": {request_id}, '
        f'"door": {transport}, "address": {address}, '
        f'"caller": {_text(caller)}, "role": {_text(role)}, '
        f'"user_id": {_text(attempt.user_id)}, "score_value": {value}, "status": {status}, '
        f'"code": {_text(code)}, "latency_ms": {round(seconds * 1000, 2)}}}'
    )


@contextmanager
def account_event(client: ClientInfo, event: str) -> Iterator[Attempt]:
    """Log and count an account event (register, login, refresh or logout) and its outcome.

    The caller sets `user_id` if the account exists. Errors are raised unchanged. The line never has
    the name that was sent: it may be a password typed into the wrong field.
    """
    attempt = Attempt(client)
    code = "server_error"
    try:
        yield attempt
        code = "accepted"
    except (ScoreboardError, ValidationError) as error:
        code = translate(error).code
        raise
    finally:
        services().metrics.account_events.labels(event, code).inc()
        _log(logging.INFO, "auth", client, act=event, user_id=attempt.user_id, code=code)


def moderation(
    client: ClientInfo, caller: str | None, act: str, target: dict[str, Any], reason: str | None
) -> None:
    """Log a moderation action; `caller` is None for the command line."""
    _log(logging.INFO, "moderation", client, caller=caller, act=act, **target, reason=reason)


def anomaly(client: ClientInfo, rule: str, user_id: str | None, detail: str) -> None:
    """Log an anomaly at level WARNING; `user_id` is None if the user is unknown."""
    fields = {"level": "warning", "rule": rule, "user_id": user_id, "detail": detail}
    _log(logging.WARNING, "unusual_activity", client, **fields)


def _log(level: int, event: str, client: ClientInfo, /, **fields: Any) -> None:
    sender = {"request_id": client.request_id, "door": client.transport, "address": client.address}
    line = json.dumps({"time": _now(), "event": event, **sender, **fields})
    services().recent.keep([line])
    log.log(level, line)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _text(value: str | None) -> str:
    return "null" if value is None else _encode(value)
