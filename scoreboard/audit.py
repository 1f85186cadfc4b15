"""The audit log, one line of JSON each: score updates, sign-ins, moderation, the unusual."""

import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from marshmallow import ValidationError

from . import metrics, recent
from .errors import ScoreboardError, translate
from .fields import number
from .permissions import Caller

log = logging.getLogger("scoreboard.audit")


@dataclass(frozen=True)
class Origin:
    """Where a request came from: the door it took, its address and its id."""

    door: str
    address: str
    request_id: str


@dataclass(eq=False)
class Attempt:
    """What is known of an attempt so far; never a token, a password or a whole body.

    `started` is in seconds of a clock that never goes back. `score` is the user's score after an
    accepted update; `status` and `code` are there once the attempt has ended. `claimed` is the
    user id and role in a token whose signature is good, where the attempt ended before the token
    was looked up: good for the log alone, as the user may be suspended or the token revoked.
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


# The attempts that have not ended yet: a process that stops answers these first.
under_way: set[Attempt] = set()


@contextmanager
def attempt(origin: Origin, then: Callable[[Attempt], object]) -> Iterator[Attempt]:
    """Log the attempt made in this context, with how it ended, and hand it on to `then`.

    Errors pass through; `then` must not raise any.
    """
    with refusal(origin, then) as made:
        yield made
        end(made, None, then)


@contextmanager
def refusal(origin: Origin, then: Callable[[Attempt], object]) -> Iterator[Attempt]:
    """Log an attempt that an error ends in this context; what comes to more is for `end` to log.

    Errors pass through; `then` must not raise any.
    """
    made = Attempt(origin)
    under_way.add(made)
    try:
        yield made
    except ScoreboardError as error:
        end(made, error, then)
        raise
    except Exception as error:
        told = translate(error)
        end(made, told, then)
        raise told from error
    finally:
        under_way.discard(made)


@dataclass(eq=False)
class AccountEvent:
    """What is known of an event of an account so far: whose it is, None if nobody's we know."""

    user_id: str | None = None


@contextmanager
def account_event(origin: Origin, event: str) -> Iterator[AccountEvent]:
    """Log and count what happens to an account in this context, and how it ended.

    `event` is register, login, refresh or logout. Errors pass through. The line never has the
    name that was given: of an unknown user, it may be a password typed into the wrong field.
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
        line = _line("auth", origin, act=event, user_id=made.user_id, code=code)
        recent.seen.keep([line])
        log.info(line)


def moderation(
    origin: Origin, caller: str | None, act: str, whom: dict[str, Any], reason: str | None
) -> None:
    """Log what a moderator did; `caller` is None for whoever has the command line."""
    line = _line("moderation", origin, caller=caller, act=act, **whom, reason=reason)
    recent.seen.keep([line])
    log.info(line)


def unusual_activity(origin: Origin, rule: str, user_id: str | None, detail: str) -> None:
    """Log a warning that a rule of what is usual was broken; `user_id` is None if by nobody known.

    The line says that it is a warning: in the log it stands among others that are none.
    """
    told = {"level": "warning", "rule": rule, "user_id": user_id, "detail": detail}
    line = _line("unusual_activity", origin, **told)
    recent.seen.keep([line])
    log.warning(line)


def end(made: Attempt, error: ScoreboardError | None, then: Callable[[Attempt], object]) -> None:
    """Log the attempt as ended by this error, or as accepted, and hand it on to `then`."""
    end_all([(made, error)], then)


def end_all(
    ended: Iterable[tuple[Attempt, ScoreboardError | None]], then: Callable[[Attempt], object]
) -> None:
    """Log attempts as `end` does, a line each, all of them in one write."""
    made, lines = [], []
    for attempt, error in ended:
        made.append(attempt)
        lines.append(_ended(attempt, error))
    recent.seen.keep(lines, [attempt.code or "" for attempt in made])
    log.info("\n".join(lines))
    for attempt in made:
        then(attempt)


def _ended(made: Attempt, error: ScoreboardError | None) -> str:
    """Note how the attempt ended, count it and return its line."""
    made.status, made.code = (error.status, error.code) if error else (200, "accepted")
    seconds = time.perf_counter() - made.started
    user_id, role = made.claimed or (None, None)
    if made.caller:
        user_id, role = made.caller.user_id, made.caller.role
    metrics.count_update(made.code, seconds)
    return _line(
        "score_update",
        made.origin,
        caller=user_id,
        role=role,
        user_id=made.user_id,
        score_value=None if made.score_value is None else number(made.score_value),
        status=made.status,
        code=made.code,
        latency_ms=round(seconds * 1000, 2),
    )


def _line(event: str, origin: Origin, **told: Any) -> str:
    line = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "event": event,
        "request_id": origin.request_id,
        "door": origin.door,
        "address": origin.address,
    }
    return json.dumps({**line, **told})
