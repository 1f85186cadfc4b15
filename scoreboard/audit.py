"""The audit log: a JSON line per score update, account event, act of moderation and anomaly."""

import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, NamedTuple

from marshmallow import ValidationError

from . import metrics, recent
from .errors import ScoreboardError, translate
from .fields import number
from .permissions import Caller

log = logging.getLogger("scoreboard.audit")
_encode = json.JSONEncoder().encode


class Origin(NamedTuple):
    """Where a request came from: its transport, its address and its id."""

    door: str
    address: str
    request_id: str


@dataclass(eq=False, slots=True)
class Attempt:
    """What is known of an attempt so far; never a token, a password or a whole body.

    `started` is in seconds of time.perf_counter. `score` is the user's score after an accepted
    update; `status` and `code` are set when the attempt has ended. `claimed` is the user id and
    role in a token with a good signature, if the attempt ended before the token was looked up: for
    the log only, since the user may be suspended or the token revoked.
    """

    origin: Origin
    started: float = field(default_factory=time.perf_counter)
    user_id: str | None = None
    score_value: float | None = None
    caller: Caller | None = None
    claimed: tuple[str | None, str] | None = None
    score: float | None = None
    status: int | None = None
    code: str | None = None


Observer = Callable[[Attempt], object]

# The attempts that have not ended yet: a process that stops waits for them.
under_way: set[Attempt] = set()


def attempt(origin: Origin, observe: Observer) -> AbstractContextManager[Attempt, None]:
    """Return a context that logs the attempt made in it, with its outcome, and observes it.

    Raises the errors of the context as ScoreboardError. `observe` must not raise.
    """
    return _Recording(origin, observe, is_one_update=True)


def refusal(origin: Origin, observe: Observer) -> AbstractContextManager[Attempt, None]:
    """Return a context that does so only if an error ends it: pass its updates to `end_all`."""
    return _Recording(origin, observe, is_one_update=False)


class _Recording:
    """The context of an attempt. A class: a generator takes twice as long."""

    __slots__ = ("_attempt", "_is_one_update", "_observe")

    def __init__(self, origin: Origin, observe: Observer, is_one_update: bool) -> None:
        self._attempt = Attempt(origin)
        self._observe = observe
        self._is_one_update = is_one_update

    def __enter__(self) -> Attempt:
        under_way.add(self._attempt)
        return self._attempt

    def __exit__(
        self, kind: object, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if isinstance(error, Exception):
                translated = translate(error)
                end_all([(self._attempt, translated)], self._observe)
                if translated is not error:
                    raise translated from error
            elif error is None and self._is_one_update:
                end_all([(self._attempt, None)], self._observe)
        finally:
            under_way.discard(self._attempt)


def end_all(ended: Iterable[tuple[Attempt, ScoreboardError | None]], observe: Observer) -> None:
    """Log attempts in one write, with the error of each, None if accepted; then observe each."""
    attempts, lines = [], []
    for attempt, error in ended:
        attempts.append(attempt)
        lines.append(_end(attempt, error))
    recent.seen.keep(lines, [attempt.code or "" for attempt in attempts])
    log.info("\n".join(lines))
    for attempt in attempts:
        observe(attempt)


def _end(attempt: Attempt, error: ScoreboardError | None) -> str:
    """Set the outcome of the attempt, count it and return its line.

    The text is that of json.dumps, which takes four times as long for a dictionary.
    """
    attempt.status, attempt.code = (error.status, error.code) if error else (200, "accepted")
    seconds = time.perf_counter() - attempt.started
    metrics.count_update(attempt.code, seconds)
    caller, role = attempt.claimed or (None, None)
    if attempt.caller:
        caller, role = attempt.caller.user_id, attempt.caller.role
    door, address, request_id = map(_text, attempt.origin)
    value = "null" if attempt.score_value is None else number(attempt.score_value)
    return (
        f'{{"time": "{_now()}", "event": "score_update", "request_id": {request_id}, '
        f'"door": {door}, "address": {address}, "caller": {_text(caller)}, "role": {_text(role)}, '
        f'"user_id": {_text(attempt.user_id)}, "score_value": {value}, '
        f'"status": {attempt.status}, "code": {_text(attempt.code)}, '
        f'"latency_ms": {round(seconds * 1000, 2)}}}'
    )


@dataclass(eq=False)
class AccountEvent:
    """What is known of an account event so far: the user, None if there is no such account."""

    user_id: str | None = None


@contextmanager
def account_event(origin: Origin, event: str) -> Iterator[AccountEvent]:
    """Log and count the account event of this context, with its outcome.

    `event` is register, login, refresh or logout. Errors are raised unchanged. The line never has
    the name that was sent: that of an unknown user may be a password typed into the wrong field.
    """
    made = AccountEvent()
    code = "server_error"
    try:
        yield made
        code = "accepted"
    except ScoreboardError as error:
        code = error.code
        raise
    except ValidationError:
        code = "invalid_input"
        raise
    finally:
        metrics.ACCOUNT_EVENTS.labels(event, code).inc()
        _log(logging.INFO, "auth", origin, act=event, user_id=made.user_id, code=code)


def moderation(
    origin: Origin, caller: str | None, act: str, target: dict[str, Any], reason: str | None
) -> None:
    """Log an act of moderation; `caller` is None on the command line."""
    _log(logging.INFO, "moderation", origin, caller=caller, act=act, **target, reason=reason)


def anomaly(origin: Origin, rule: str, user_id: str | None, detail: str) -> None:
    """Log an anomaly as a warning, also in the line; `user_id` is None if no user is known."""
    fields = {"level": "warning", "rule": rule, "user_id": user_id, "detail": detail}
    _log(logging.WARNING, "unusual_activity", origin, **fields)


def _log(level: int, event: str, origin: Origin, /, **fields: Any) -> None:
    door, address, request_id = origin
    where = {"request_id": request_id, "door": door, "address": address}
    line = json.dumps({"time": _now(), "event": event, **where, **fields})
    recent.seen.keep([line])
    log.log(level, line)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _text(value: str | None) -> str:
    return "null" if value is None else _encode(value)
