"""The fuzzed application: on SQLite, in this process, without background tasks."""

import atexit
import contextlib
import functools
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
# Engine.IO logs this as an error although client input caused it.
IGNORED_ERROR = "(further occurrences of this error will be logged with level INFO)"


@functools.cache
def fuzzed_application():
    """Return the `FuzzedApplication` of this process; the first call creates it."""
    return FuzzedApplication()


class FuzzedApplication:
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
        self.has_accepted, self.recorded = False, 0
        self.users = {}
        self.create_users()

    def create_users(self):
        """Create new users: the previous ones may be suspended or signed out."""
        with self.app.app_context():
            for role in ROLES:
                name = f"{role}-{uuid.uuid4().hex[:8]}"
                user_id = accounts.create(name, f"{name}@example.com", None, role).user_id
                token = tokens.issue_access(user_id, role)
                self.users[role] = SimpleNamespace(user_id=user_id, token=token)

    def substitute(self, data):
        """Return the data with its variables replaced: $PLAYER_ID, $PLAYER_TOKEN, ..., $NONCE."""
        if b"$" not in data:
            return data
        for role, user in self.users.items():
            for name, value in (("ID", user.user_id), ("TOKEN", user.token)):
                data = data.replace(f"${role.upper()}_{name}".encode(), value.encode())
        return data.replace(b"$NONCE", uuid.uuid4().hex.encode())

    @contextlib.contextmanager
    def checked(self):
        """Fail if code in the context logs an error or makes an unreported database change.

        `recorded` counts accepted updates, `has_accepted` reports changes of other tables. Slow
        functions, such as password hashes, are patched.
        """
        errors, before, rows = _ErrorCollector(), self._state(), self._rows()
        self.has_accepted, self.recorded = False, 0
        with contextlib.ExitStack() as stack:
            for patch in self._patches():
                stack.enter_context(patch)
            for name in LOGGERS:
                logger = logging.getLogger(name)
                stack.enter_context(mock.patch.object(logger, "handlers", [errors]))
            yield
        assert not errors.lines, errors.lines
        assert not self.connections._all, "a connection was not removed"
        assert not self.engine.sockets, "a session was not removed"
        assert self._rows() - rows == self.recorded
        if not self.has_accepted and not self.recorded:
            after = self._state()
            assert after == before, f"the database was changed: from {before} to {after}"

    def _rows(self):
        [rows] = self._database.execute("SELECT count(*) FROM scores").fetchone()
        return rows

    def _state(self):
        """Return a digest of the database without `marks`, since refused requests may add some."""
        tables = [table for table in Base.metadata.tables if table != "marks"]
        counts = [f"(SELECT count(*) FROM {table})" for table in tables]
        sums = [
            "(SELECT total(rank_key) FROM standings)",
            "(SELECT group_concat(role) FROM users)",
            "(SELECT count(suspended_at) FROM users)",
            "(SELECT count(hidden_at) FROM users)",
            "(SELECT group_concat(stamp || clock || settings_version) FROM board_versions)",
        ]
        return self._database.execute(f"SELECT {', '.join(counts + sums)}").fetchone()

    def _patches(self):
        def update(*args):
            response = _UPDATE(*args)
            self.recorded += response["status"] == 200
            return response

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


class _ErrorCollector(logging.Handler):
    """A log handler that collects unexpected errors and all tracebacks in `lines`."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        is_error = record.levelno >= logging.ERROR and IGNORED_ERROR not in record.getMessage()
        if record.exc_info or is_error:
            self.lines.append(f"{record.name}: {logging.Formatter().format(record)}")
