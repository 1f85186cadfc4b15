"""Where log lines go, and what never appears in them."""

import logging
import re
import sys
from typing import TextIO

from flask import Flask

# In a query, tokens are for plain WebSockets; the development server logs whole request lines.
_TOKEN = re.compile(r"(token=)[^&\s\"']+")
_CONTROL = re.compile(r"\x1b\[[0-9;]*m|[\x00-\x08\x0b-\x1f\x7f]")


class _Clean(logging.Formatter):
    """One line of text with no token, and no control character that could forge another line."""

    def format(self, record: logging.LogRecord) -> str:
        return _CONTROL.sub("", _TOKEN.sub(r"\1[hidden]", super().format(record)))


def _one_line(record: logging.LogRecord) -> bool:
    """Keep tracebacks out: what Engine.IO fails at is what a client sent, not our code.

    Our own handlers log what they raise before the library sees it.
    """
    if record.exc_info and record.exc_info[0]:
        record.msg, record.args = f"{record.getMessage()}: {record.exc_info[0].__name__}", None
    record.exc_info = None
    return True


def init_app(app: Flask) -> None:
    """Send our lines to standard error, and the audit's to standard output, each as it is."""
    _send_to("scoreboard", sys.stderr, _Clean("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    _send_to("scoreboard.audit", sys.stdout, logging.Formatter("%(message)s"))
    clean = _Clean("%(asctime)s %(levelname)s %(name)s: %(message)s")
    for library, level in (("werkzeug", logging.INFO), ("engineio.server", logging.WARNING)):
        _send_to(library, sys.stderr, clean)
        logging.getLogger(library).setLevel(level)
    _send_to("socketio.server", sys.stderr, clean)
    logging.getLogger("socketio.server").setLevel(logging.ERROR)
    engine = logging.getLogger("engineio.server")
    if _one_line not in engine.filters:
        engine.addFilter(_one_line)


def _send_to(name: str, stream: TextIO, formatter: logging.Formatter) -> None:
    logger = logging.getLogger(name)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    logger.handlers = [handler]
    logger.propagate = False
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
