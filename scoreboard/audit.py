"""Every attempt to update a score leaves one line of JSON, accepted or refused."""

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from . import metrics
from .errors import ScoreboardError, translate
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
    """What is known of an attempt so far; never a token, a password or a whole body."""

    origin: Origin
    started: float = field(default_factory=time.perf_counter)
    user_id: str | None = None
    score_value: float | None = None
    caller: Caller | None = None


# The attempts that have not ended yet: a process that stops answers these first.
under_way: set[Attempt] = set()


@contextmanager
def attempt(origin: Origin) -> Iterator[Attempt]:
    """Log the attempt made in this context, with how it ended. Errors pass through."""
    made = Attempt(origin)
    under_way.add(made)
    try:
        yield made
    except ScoreboardError as error:
        _write(made, error.status, error.code)
        raise
    except Exception as error:
        told = translate(error)
        _write(made, told.status, told.code)
        raise told from error
    else:
        _write(made, 200, "accepted")
    finally:
        under_way.discard(made)


def _write(made: Attempt, status: int, code: str) -> None:
    caller, seconds = made.caller, time.perf_counter() - made.started
    metrics.count_update(code, seconds)
    line = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "event": "score_update",
        "request_id": made.origin.request_id,
        "door": made.origin.door,
        "address": made.origin.address,
        "caller": caller and caller.user_id,
        "role": caller and caller.role,
        "user_id": made.user_id,
        "score_value": made.score_value,
        "status": status,
        "code": code,
        "latency_ms": round(seconds * 1000, 2),
    }
    log.info(json.dumps(line))
