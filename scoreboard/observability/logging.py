"""Configure the logs: destinations, formats, rate limits, and removal of tokens."""

import atexit
import copy
import json
import logging
import math
import re
import sys
import time
import traceback
from collections.abc import Iterable
from datetime import UTC, datetime

from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from ..errors import FAILURES
from .log_writer import Writer

AUDIT = "scoreboard.audit"
# Seconds that the exit of the process waits for unwritten lines.
FLUSH_TIMEOUT = 2

# Plain WebSockets send tokens in the query; the development server logs whole request lines.
_TOKEN = re.compile(r"(token=)[^&\s\"']+")
_CONTROL = re.compile(r"\x1b\[[0-9;]*m|[\x00-\x08\x0b-\x1f\x7f]")

# Seconds between two lines about the same failure.
REPEAT_INTERVAL = 1
MAX_KINDS = 1000
# Drivers whose errors SQLAlchemy logs unchanged.
DRIVERS = ("psycopg", "sqlite3")
MAX_REASON_LENGTH = 200
# Record attributes that no format uses; on the event loop they cost more than the rest of a record.
UNUSED_FIELDS = ("logThreads", "logProcesses", "logMultiprocessing", "logAsyncioTasks")

# By kind: time of the last line written (`time.monotonic`), and number of lines suppressed since.
_written: dict[object, tuple[float, int]] = {}


_FORMAT = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")


def _clean(record: logging.LogRecord) -> str:
    """Format a record without tokens or control characters, which could forge a line."""
    return _CONTROL.sub("", _TOKEN.sub(r"\1[hidden]", _FORMAT.format(record)))


def _render(record: logging.LogRecord) -> str | None:
    """Return the text of a record, or None to suppress it.

    Warnings and errors are limited to one per kind and `REPEAT_INTERVAL`; the next line states the
    number suppressed. A kind is the logging line of code, the type of the exception and the line
    that raised it. All database failures are one kind and have no traceback, because in an outage
    every request fails.
    """
    if record.name == AUDIT:
        return record.getMessage()
    if record.levelno < logging.WARNING:
        return _clean(record)
    error = record.exc_info[1] if record.exc_info else None
    is_database = isinstance(error, FAILURES) or type(error).__module__.split(".")[0] in DRIVERS
    frames = traceback.walk_tb(error.__traceback__ if error else None)
    place = [(frame.f_code.co_filename, line) for frame, line in frames][-1:]
    kind = "database" if is_database else (record.pathname, record.lineno, type(error), *place)
    now = time.monotonic()
    written_at, suppressed = _written.get(kind, (-math.inf, 0))
    if now - written_at < REPEAT_INTERVAL:
        _written[kind] = (written_at, suppressed + 1)
        return None
    if len(_written) >= MAX_KINDS:
        _written.clear()
    _written[kind] = (now, 0)
    text = record.getMessage()
    shown = copy.copy(record)
    if is_database:
        # The driver's message without the statement and its parameters.
        reason = str(getattr(error, "orig", None) or error).partition("\n")[0]
        text = f"{text}: {type(error).__name__}: {reason[:MAX_REASON_LENGTH]}"
        shown.exc_info = shown.exc_text = None
    if suppressed:
        text = f"{text} ({suppressed} more since the last line about it)"
    shown.msg, shown.args = text, None
    return _clean(shown)


def _without_traceback(record: logging.LogRecord) -> bool:
    """Remove the traceback. Engine.IO logs errors caused by client input, not by our code.

    Our handlers log their own exceptions before the library sees them.
    """
    if record.exc_info and record.exc_info[0]:
        record.msg, record.args = f"{record.getMessage()}: {record.exc_info[0].__name__}", None
    record.exc_info = None
    return True


def _audit_notice(count: int) -> str:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return json.dumps({"time": now, "event": "log_lines_dropped", "lines": count})


def _notice(count: int) -> str:
    record = {"name": __name__, "levelname": "WARNING", "msg": f"{count} log lines were dropped"}
    return _clean(logging.makeLogRecord(record))


# Shared by all applications of the process.
_stdout = Writer(logging.LogRecord.getMessage, _audit_notice)
_stderr = Writer(_render, _notice)


class DroppedLines(Collector):
    """The counts of dropped lines. A native thread counts them and must not use metric locks."""

    def collect(self) -> Iterable[CounterMetricFamily]:
        """Yield one counter, labelled by stream."""
        help_text = "Log lines dropped because the reader of the stream was too slow"
        dropped = CounterMetricFamily("scoreboard_log_lines_dropped", help_text, labels=["stream"])
        dropped.add_metric(["stdout"], _stdout.dropped)
        dropped.add_metric(["stderr"], _stderr.dropped)
        yield dropped


def init_app() -> None:
    """Write audit lines to standard output, unchanged, and all others to standard error."""
    _stdout.use(sys.stdout)
    _stderr.use(sys.stderr)
    for field in UNUSED_FIELDS:
        setattr(logging, field, False)
    levels = {
        "scoreboard": logging.getLogger("scoreboard").level or logging.INFO,
        AUDIT: logging.NOTSET,
        "werkzeug": logging.INFO,
        "engineio.server": logging.WARNING,
        "socketio.server": logging.ERROR,
    }
    for name, level in levels.items():
        logger = logging.getLogger(name)
        logger.handlers = [_stdout if name == AUDIT else _stderr]
        logger.propagate = False
        logger.setLevel(level)
    # For all other loggers, such as the database pool's.
    logging.lastResort = _stderr
    logging.getLogger("engineio.server").addFilter(_without_traceback)


@atexit.register
def flush() -> None:
    """Block until all lines are written, for at most `FLUSH_TIMEOUT`. Runs at exit."""
    deadline = time.monotonic() + FLUSH_TIMEOUT
    _stdout.drain(deadline)
    _stderr.drain(deadline)


def audit_to_stderr() -> None:
    """Write audit lines to standard error, because a command's standard output is its result."""
    logger = logging.getLogger(AUDIT)
    logger.handlers = [_stderr if each is _stdout else each for each in logger.handlers]
