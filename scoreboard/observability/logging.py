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

from ..errors import DATABASE_ERRORS
from .log_writer import LogWriter

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


class MessageFormatter(logging.Formatter):
    """Formats a record as its message alone, in a quarter of the time of `%(message)s`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the message."""
        return record.getMessage()


class CleanFormatter(logging.Formatter):
    """Formats records without tokens, control characters, and tracebacks of database failures."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of the record, which is not changed."""
        record = copy.copy(record)
        record.msg, record.args = record.getMessage(), None
        error = _error(record)
        if _is_database(error):
            # The driver's message without the statement and its parameters.
            reason = str(getattr(error, "orig", None) or error).partition("\n")[0]
            record.msg += f": {type(error).__name__}: {reason[:MAX_REASON_LENGTH]}"
            record.exc_info = record.exc_text = None
        if suppressed := getattr(record, "suppressed", 0):
            record.msg += f" ({suppressed} more since the last line about it)"
        return _CONTROL.sub("", _TOKEN.sub(r"\1[hidden]", super().format(record)))


class RepeatFilter(logging.Filter):
    """Limits warnings and errors to one per kind and `REPEAT_INTERVAL`.

    The next record gets the number suppressed as `suppressed`. A kind is the logging line of code,
    the type of the exception and the line that raised it. All database failures are one kind,
    because in an outage every request fails.
    """

    def __init__(self) -> None:
        super().__init__()
        # By kind: time of the last line (`time.monotonic`), and number of lines suppressed since.
        self._logged: dict[object, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to log the record."""
        if record.levelno < logging.WARNING:
            return True
        error = _error(record)
        frames = traceback.walk_tb(error.__traceback__ if error else None)
        place = [(frame.f_code.co_filename, line) for frame, line in frames][-1:]
        kind: object = (record.pathname, record.lineno, type(error), *place)
        if _is_database(error):
            kind = "database"
        now = time.monotonic()
        logged_at, suppressed = self._logged.get(kind, (-math.inf, 0))
        if now - logged_at < REPEAT_INTERVAL:
            self._logged[kind] = (logged_at, suppressed + 1)
            return False
        if len(self._logged) >= MAX_KINDS:
            self._logged.clear()
        self._logged[kind] = (now, 0)
        record.suppressed = suppressed
        return True


def _error(record: logging.LogRecord) -> BaseException | None:
    return record.exc_info[1] if record.exc_info else None


def _is_database(error: BaseException | None) -> bool:
    return isinstance(error, DATABASE_ERRORS) or type(error).__module__.split(".")[0] in DRIVERS


def _without_traceback(record: logging.LogRecord) -> bool:
    """Remove the traceback of an error of Engine.IO, which client input caused, not our code."""
    if record.exc_info and record.exc_info[0]:
        record.msg, record.args = f"{record.getMessage()}: {record.exc_info[0].__name__}", None
    record.exc_info = None
    return True


def _audit_notice(count: int) -> str:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return json.dumps({"time": now, "event": "log_lines_dropped", "lines": count})


def _notice(count: int) -> str:
    record = {"name": __name__, "levelname": "WARNING", "msg": f"{count} log lines were dropped"}
    return _stderr.format(logging.makeLogRecord(record))


# Shared by all applications of the process.
_audit = LogWriter(_audit_notice)
_stderr = LogWriter(_notice)
_audit.setFormatter(MessageFormatter())
_stderr.setFormatter(CleanFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
_stderr.addFilter(RepeatFilter())


class DroppedLines(Collector):
    """The counts of dropped lines. A native thread counts them and must not use metric locks."""

    def collect(self) -> Iterable[CounterMetricFamily]:
        """Yield one counter, labelled by stream."""
        help_text = "Log lines dropped because the reader of the stream was too slow"
        dropped = CounterMetricFamily("scoreboard_log_lines_dropped", help_text, labels=["stream"])
        dropped.add_metric(["stdout"], _audit.dropped)
        dropped.add_metric(["stderr"], _stderr.dropped)
        yield dropped


def init_app() -> None:
    """Write audit lines to standard output, and all other lines to standard error."""
    _audit.use(sys.stdout)
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
        logger.handlers = [_audit if name == AUDIT else _stderr]
        logger.propagate = False
        logger.setLevel(level)
    # For all other loggers, such as the database pool's.
    logging.lastResort = _stderr
    logging.getLogger("engineio.server").addFilter(_without_traceback)


@atexit.register
def flush() -> None:
    """Block until all lines are written, for at most `FLUSH_TIMEOUT`. Runs at exit."""
    deadline = time.monotonic() + FLUSH_TIMEOUT
    _audit.drain(deadline)
    _stderr.drain(deadline)


def audit_to_stderr() -> None:
    """Write audit lines to standard error, because a command's standard output is its result."""
    _audit.use(_stderr.stream)
