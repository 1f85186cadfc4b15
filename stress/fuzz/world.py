"""Set up the application for fuzzing: on SQLite, in this process, without background tasks."""

import atexit
import contextlib
import functools
import itertools
import logging
import shutil
import sqlite3
import tempfile
import uuid
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

from werkzeug.security import check_password_hash, generate_password_hash

from config import Config
from scoreboard import create_app
from scoreboard.auth import accounts, passwords, tokens
from scoreboard.concurrency import runtime
from scoreboard.extensions import Base
from scoreboard.realtime.socketio import updates
from scoreboard.services import services
from tests.support import databases
from tests.support.servers import SECRETS

ROLES = ("player", "scorer", "admin")
LOGGERS = ("scoreboard", "scoreboard.audit", "engineio.server", "socketio.server")
NUMBERS = itertools.count(1)
# Lines that Engine.IO logs as errors although client input caused them.
NO_ERROR = ("(further occurrences of this error will be logged with level INFO)",)


@functools.cache
def world():
    """Return the `World` of this process; the first call creates it."""
    return World()


class World:
    """The application, a user with a token for each role, and checks for unexpected changes."""

    def __init__(self):
        folder = Path(tempfile.mkdtemp())
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        url = databases.copied_sqlite(folder)
        names = ("SCORE_RATE_LIMIT", "AUTH_RATE_LIMIT", "LOGIN_RATE_LIMIT", "VIEWER_RATE_LIMIT")
        limits = dict.fromkeys(names, "100000000/minute")
        self.app = create_app(Config.from_environment({"DATABASE_URL": url, **SECRETS, **limits}))
        # Otherwise sessions are closed after 300 refusals, and most inputs are refused.
        services(self.app).refusal_limiter.count = lambda address: None
        self.connections = services(self.app).connections
        self.connections.on_first_connection(lambda: None)  # no background maintenance
        self.engine = services(self.app).socketio.server.eio
        self._database = sqlite3.connect(folder / "scoreboard.db")
        self._accepted = self._recorded = 0
        self.people = {}
        self.renew_people()

    def renew_people(self):
        """Create new users: the previous ones may be suspended or signed out."""
        with self.app.app_context():
            for role in ROLES:
                name = f"{role}-{next(NUMBERS)}"
                made = accounts.create(name, f"{name}@example.com", None, role)
                token = tokens.issue_access(made.user_id, role)
                self.people[role] = SimpleNamespace(user_id=made.user_id, token=token)

    def filled(self, data):
        """Return the data with its variables replaced: $PLAYER_ID, $PLAYER_TOKEN, ..., $NONCE."""
        if b"$" not in data:
            return data
        for role, person in self.people.items():
            for what, value in (("ID", person.user_id), ("TOKEN", person.token)):
                data = data.replace(f"${role.upper()}_{what}".encode(), value.encode())
        return data.replace(b"$NONCE", uuid.uuid4().hex.encode())

    @contextlib.contextmanager
    def watched(self):
        """Fail if code in the context logs an error or makes an unreported database change.

        `accept` and `record` report changes. Slow functions, such as password hashes, are patched.
        """
        said, before, rows = _Said(), self._state(), self._rows()
        self._accepted = self._recorded = 0
        with contextlib.ExitStack() as stack:
            for patch in self._patches():
                stack.enter_context(patch)
            stack.enter_context(_logging_to(said))
            yield
        assert not said.errors, said.errors
        assert not self.connections._all, "a connection is left"
        assert not self.engine.sockets, "a session is left"
        assert self._rows() - rows == self._recorded
        if not self._accepted and not self._recorded:
            after = self._state()
            assert after == before, f"the database was changed: from {before} to {after}"

    def accept(self):
        """Report a success response: tables other than `scores` may have changed."""
        self._accepted += 1

    def record(self, receipts):
        """Report accepted updates: each must be in the history."""
        self._recorded += receipts

    def _rows(self):
        [rows] = self._database.execute("SELECT count(*) FROM scores").fetchone()
        return rows

    def _state(self):
        """Return a digest of the database without `marks`, since refused requests may add some."""
        tables = [table for table in Base.metadata.tables if table != "marks"]
        counts = [f"(SELECT count(*) FROM {table})" for table in tables]
        sums = [
            "(SELECT total(score) FROM standings)",
            "(SELECT group_concat(role) FROM users)",
            "(SELECT count(suspended_at) FROM users)",
            "(SELECT count(hidden_at) FROM users)",
            "(SELECT stamp || clock FROM board_version)",
        ]
        return self._database.execute(f"SELECT {', '.join(counts + sums)}").fetchone()

    def _patches(self):
        def update(*args):
            told = _UPDATE(*args)
            self.record(told["status"] == 200)
            return told

        inline = SimpleNamespace(spawn=lambda work, *args: work(*args))
        return (
            mock.patch.object(updates, "runtime", inline),
            mock.patch.object(updates, "_submit", update),
            mock.patch.object(runtime, "after"),
            mock.patch.object(passwords, "generate_password_hash", _hash),
            mock.patch.object(passwords, "check_password_hash", check_password_hash),
            mock.patch.object(passwords, "_dummy_hash", return_value=_hash("nobody")),
        )


_UPDATE = updates._submit


def _hash(password):
    return generate_password_hash(password, "pbkdf2:sha256:1")


class _Said(logging.Handler):
    """A log handler that collects unexpected errors and all tracebacks in `errors`."""

    def __init__(self):
        super().__init__()
        self.errors = []

    def emit(self, record):
        foreseen = any(each in record.getMessage() for each in NO_ERROR)
        if record.exc_info or (record.levelno >= logging.ERROR and not foreseen):
            told = logging.Formatter().format(record)
            self.errors.append(f"{record.name}: {told}")


@contextlib.contextmanager
def _logging_to(handler):
    """Within the context, send the records of `LOGGERS` only to this handler."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [logger.handlers for logger in loggers]
    for logger in loggers:
        logger.handlers = [handler]
    try:
        yield
    finally:
        for logger, handlers in zip(loggers, before, strict=True):
            logger.handlers = handlers
