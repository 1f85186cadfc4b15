"""Where log lines go, and what never appears in them."""

import atexit
import copy
import json
import logging
import math
import re
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime

from flask import Flask
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from . import metrics
from .database import FAILURES
from .log_writer import FLUSH_TIMEOUT, Handler, Writer

# In a query, tokens are for plain WebSockets; the development server logs whole request lines.
_TOKEN = re.compile(r"(token=)[^&\s\"']+")
_CONTROL = re.compile(r"\x1b\[[0-9;]*m|[\x00-\x08\x0b-\x1f\x7f]")

# Seconds between two lines about the same failure.
REPEAT_INTERVAL = 1
MAX_REMEMBERED = 1000
# Drivers whose errors SQLAlchemy logs as they are.
DRIVERS = ("psycopg", "sqlite3")
MAX_REASON = 200


class _Clean(logging.Formatter):
    """One line of text with no token, and no control character that could forge another line."""

    def format(self, record: logging.LogRecord) -> str:
        return _CONTROL.sub("", _TOKEN.sub(r"\1[hidden]", super().format(record)))


_CLEAN = _Clean("%(asctime)s %(levelname)s %(name)s: %(message)s")


class _Repeats:
    """Lets warnings and errors of one kind through once per REPEAT_INTERVAL and counts the rest.

    One kind is what comes from the same line of code, with the same type of exception raised at
    the same place. All failures of the database are one kind and have no traceback: during an
    outage every request fails. The count is part of the next line of the kind.
    """

    def __init__(self) -> None:
        # Of each kind: when a line was let through, by time.monotonic, and how many were not since.
        self._seen: dict[object, tuple[float, int]] = {}

    def limit(self, record: logging.LogRecord) -> logging.LogRecord | None:
        """Return the record, or one in its place, to be written; None if it is one too many."""
        error = record.exc_info[1] if record.exc_info else None
        if record.levelno < logging.WARNING:
            return record
        is_database = error is not None and _is_database_failure(error)
        kind = "database" if is_database else (record.pathname, record.lineno, *_place(error))
        passed_at, more = self._seen.get(kind, (-math.inf, 0))
        if time.monotonic() - passed_at < REPEAT_INTERVAL:
            self._seen[kind] = (passed_at, more + 1)
            return None
        if len(self._seen) >= MAX_REMEMBERED:
            self._seen.clear()
        self._seen[kind] = (time.monotonic(), 0)
        text = record.getMessage()
        if is_database and error:
            text = f"{text}: {_reason(error)}"
        if more:
            text = f"{text} ({more} more since the last line about it)"
        passed = copy.copy(record)
        passed.msg, passed.args = text, None
        if is_database:
            passed.exc_info = passed.exc_text = None
        return passed


def _is_database_failure(error: BaseException) -> bool:
    return isinstance(error, FAILURES) or type(error).__module__.split(".")[0] in DRIVERS


def _place(error: BaseException | None) -> tuple[object, ...]:
    """Return the type of the error and the place that raised it."""
    if error is None:
        return ()
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    place = (trace.tb_frame.f_code.co_filename, trace.tb_lineno) if trace else ()
    return type(error), *place


def _reason(error: BaseException) -> str:
    """Return what the driver says, without the statement and its parameters."""
    lines = str(getattr(error, "orig", None) or error).splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:MAX_REASON]}"


def _one_line(record: logging.LogRecord) -> bool:
    """Keep tracebacks out: what Engine.IO fails at is what a client sent, not our code.

    Our own handlers log what they raise before the library sees it.
    """
    if record.exc_info and record.exc_info[0]:
        record.msg, record.args = f"{record.getMessage()}: {record.exc_info[0].__name__}", None
    record.exc_info = None
    return True


def _dropped_audit_lines(count: int) -> str:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return json.dumps({"time": now, "event": "log_lines_dropped", "lines": count})


def _dropped_lines(count: int) -> str:
    told = {"name": __name__, "levelname": "WARNING", "msg": f"{count} log lines were dropped"}
    return _CLEAN.format(logging.makeLogRecord(told))


# One each for the whole process, whatever applications it makes.
_writers = {"stdout": Writer(_dropped_audit_lines), "stderr": Writer(_dropped_lines)}
_repeats = _Repeats()


class _Dropped(Collector):
    """The lines dropped, counted where a native thread may count."""

    def collect(self) -> Iterable[CounterMetricFamily]:
        dropped = CounterMetricFamily(
            "scoreboard_log_lines_dropped",
            "Log lines that the reader of the stream did not take",
            labels=["stream"],
        )
        for stream, writer in _writers.items():
            dropped.add_metric([stream], writer.dropped)
        yield dropped


metrics.REGISTRY.register(_Dropped())


def init_app(app: Flask) -> None:
    """Send our lines to standard error, and the audit's to standard output, each as it is."""
    for name, stream in (("stdout", sys.stdout), ("stderr", sys.stderr)):
        _writers[name].use(stream)
    errors = Handler(_writers["stderr"], _CLEAN, _repeats.limit)
    audit = Handler(_writers["stdout"], logging.Formatter("%(message)s"))
    _send("scoreboard", errors, logging.getLogger("scoreboard").level or logging.INFO)
    _send("scoreboard.audit", audit)
    _send("werkzeug", errors, logging.INFO)
    _send("engineio.server", errors, logging.WARNING)
    _send("socketio.server", errors, logging.ERROR)
    # Of everything else, the database's pool for one.
    logging.lastResort = errors
    engine = logging.getLogger("engineio.server")
    if _one_line not in engine.filters:
        engine.addFilter(_one_line)


@atexit.register
def flush() -> None:
    """Write what is queued. Blocks until that is done, but no longer than FLUSH_TIMEOUT.

    For the end of the process: afterwards lines are no longer gathered before they are written.
    """
    deadline = time.monotonic() + FLUSH_TIMEOUT
    for writer in _writers.values():
        writer.flush(deadline)


def audit_to_stderr() -> None:
    """Send audit lines to standard error: a command's standard output is what it prints."""
    logger = logging.getLogger("scoreboard.audit")
    ours = Handler(_writers["stderr"], logging.Formatter("%(message)s"))
    logger.handlers = [ours if isinstance(each, Handler) else each for each in logger.handlers]


def _send(name: str, handler: logging.Handler, level: int = logging.NOTSET) -> None:
    logger = logging.getLogger(name)
    logger.handlers = [handler]
    logger.propagate = False
    if level:
        logger.setLevel(level)
