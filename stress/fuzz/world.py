"""The application that is fuzzed: on SQLite, in this process, with nothing that waits."""

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

import databases
from serving import SECRETS
from werkzeug.security import check_password_hash, generate_password_hash

from config import Config
from scoreboard import create_app
from scoreboard.auth import accounts, passwords, tokens
from scoreboard.concurrency import runtime as transport
from scoreboard.extensions import Base
from scoreboard.realtime.socketio import updates

ROLES = ("player", "scorer", "admin")
LOGGERS = ("scoreboard", "scoreboard.audit", "engineio.server", "socketio.server")
NUMBERS = itertools.count(1)
# What Engine.IO logs as an error, in one line, and is what a client sent.
NO_ERROR = ("(further occurrences of this error will be logged with level INFO)",)


@functools.cache
def world():
    """Return the one world of this process."""
    return World()


class World:
    """The application, a user of each role with a token, and what tells of any change."""

    def __init__(self):
        folder = Path(tempfile.mkdtemp())
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        url = databases.copied_sqlite(folder)
        names = ("SCORE_RATE_LIMIT", "AUTH_RATE_LIMIT", "LOGIN_RATE_LIMIT", "VIEWER_RATE_LIMIT")
        limits = dict.fromkeys(names, "100000000/minute")
        self.app = create_app(Config.from_environment({"DATABASE_URL": url, **SECRETS, **limits}))
        # Or sessions are closed after 300 refusals, which most of the input is.
        self.app.extensions["refusal_limiter"].count = lambda address: None
        self.connections = self.app.extensions["connections"]
        self.connections.when_first(lambda: None)  # no keeper: nothing happens by itself
        self.engine = self.app.extensions["socketio"].server.eio
        self._database = sqlite3.connect(folder / "scoreboard.db")
        self._accepted = self._recorded = 0
        self.people = {}
        self.renew_people()

    def renew_people(self):
        """Make new users: the last ones may be suspended, say, or have signed off."""
        with self.app.app_context():
            for role in ROLES:
                name = f"{role}-{next(NUMBERS)}"
                made = accounts.create(name, f"{name}@example.com", None, role)
                token = tokens.issue_access(made.user_id, role)
                self.people[role] = SimpleNamespace(user_id=made.user_id, token=token)

    def filled(self, data):
        """Return the data with what no seed can know: $PLAYER_ID, $PLAYER_TOKEN, ..., $NONCE."""
        if b"$" not in data:
            return data
        for role, person in self.people.items():
            for what, value in (("ID", person.user_id), ("TOKEN", person.token)):
                data = data.replace(f"${role.upper()}_{what}".encode(), value.encode())
        return data.replace(b"$NONCE", uuid.uuid4().hex.encode())

    @contextlib.contextmanager
    def watched(self):
        """Fail if anything inside logs an error, or changes the database without saying so.

        `accept` and `record` say so: that something was answered by a 200. What takes seconds is
        made short.
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
        """Say that something was answered by a 200, so that what is no history may differ."""
        self._accepted += 1

    def record(self, receipts):
        """Say that so many updates were answered by a 200: each must be in the history."""
        self._recorded += receipts

    def _rows(self):
        [rows] = self._database.execute("SELECT count(*) FROM scores").fetchone()
        return rows

    def _state(self):
        """Return what is stored, in short; all but the marks, which refusals may well cause."""
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
            mock.patch.object(updates, "transport", inline),
            mock.patch.object(updates, "_update", update),
            mock.patch.object(transport, "after"),
            mock.patch.object(passwords, "generate_password_hash", _hash),
            mock.patch.object(passwords, "check_password_hash", check_password_hash),
            mock.patch.object(passwords, "_nobodys_hash", return_value=_hash("nobody")),
        )


_UPDATE = updates._update


def _hash(password):
    return generate_password_hash(password, "pbkdf2:sha256:1")


class _Said(logging.Handler):
    """What is logged; `errors` has what should not have been."""

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
    """Have all of ours, and nothing else, take what is logged inside."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [logger.handlers for logger in loggers]
    for logger in loggers:
        logger.handlers = [handler]
    try:
        yield
    finally:
        for logger, handlers in zip(loggers, before, strict=True):
            logger.handlers = handlers
