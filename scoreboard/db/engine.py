"""Database engines: what each connection needs, on SQLite and on PostgreSQL."""

import contextlib
import functools
import ipaddress
import math
import os
import time
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine.interfaces import ExceptionContext

from ..concurrency import runtime as transport

# How long a writer waits for another process's transaction, in seconds. Callers queue behind it.
SQLITE_BUSY_TIMEOUT = 2
# Server-side timeouts of a transaction, in seconds. They end before the client's own deadline
# (database.DEADLINE), so that a server that still answers says itself what took too long.
STATEMENT_TIMEOUT = 3
LOCK_TIMEOUT = 2
# A process that freezes inside a transaction holds its locks no longer than this.
IDLE_IN_TRANSACTION_TIMEOUT = 5
NAME_LOOKUP_TIMEOUT = 2

READ_ONLY_TRANSACTION = "25006"  # SQLSTATE read_only_sql_transaction


class DeadlineConnection(psycopg.Connection[Any]):
    """A psycopg connection whose waits end at `deadline`, by time.monotonic.

    Past the deadline it is closed, for it is in the middle of an exchange, and OperationalError is
    raised. The server's own timeouts do not help where the server hangs with its sockets open.
    """

    deadline = math.inf

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """Wait as psycopg does, but not past the deadline."""
        remaining = max(0.0, self.deadline - time.monotonic())
        if timeout is None or remaining < timeout:
            timeout = None if remaining == math.inf else remaining
        try:
            return super().wait(gen, interval, timeout)
        except psycopg.OperationalError:
            if time.monotonic() >= self.deadline:
                self.close()
            raise


def prepare_sqlite(engine: Engine) -> None:
    """Set up what every SQLite connection of this engine needs, and the file if it is missing."""
    _create_private_file(engine.url.database)

    @event.listens_for(engine, "connect")
    def connect(connection: Any, record: Any) -> None:
        # The driver's own idea of when to begin leaves out reads and takes no lock.
        connection.isolation_level = None
        for pragma in (
            "foreign_keys=ON",
            "journal_mode=WAL",
            # With WAL the default of most guides, NORMAL, may lose the newest commits in a
            # power cut; what was acknowledged must not be lost.
            "synchronous=FULL",
            f"busy_timeout={SQLITE_BUSY_TIMEOUT * 1000}",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        _begin(connection)


def _begin(connection: Connection) -> None:
    """Execute the SQL of the option `begin`; if that is empty, statements are on their own."""
    if begin := connection.get_execution_options().get("begin", "BEGIN"):
        connection.exec_driver_sql(begin)


def _create_private_file(path: str | None) -> None:
    """Create the database file for its owner alone: it holds password hashes.

    SQLite gives its -wal and -shm files the same permissions.
    """
    if path:
        with contextlib.suppress(OSError):  # an existing file, or one that SQLite will complain of
            os.close(os.open(Path(path), os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def close_sqlite(engine: Engine) -> None:
    """Write the write-ahead log into the database file and close all idle connections.

    Blocks while it writes. Afterwards the file alone is the whole database, unless another process
    has it open.
    """
    with contextlib.suppress(Exception), engine.connect() as connection:
        connection.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    engine.dispose()


def prepare_postgres(engine: Engine) -> None:
    """Set up what every PostgreSQL connection of this engine needs."""

    @event.listens_for(engine, "do_connect")
    def do_connect(dialect: Any, record: Any, arguments: Any, options: dict[str, Any]) -> Any:
        return DeadlineConnection.connect(*arguments, **{**options, **_addresses(options)})

    @event.listens_for(engine, "connect")
    def connect(connection: Any, record: Any) -> None:
        # Transactions begin explicitly, together with their settings, in one round trip.
        connection.autocommit = True
        (pid,) = connection.execute("SELECT pg_backend_pid()").fetchone()
        if pid != connection.info.backend_pid:
            # Behind a pooler: the next transaction may run in another session, where a prepared
            # statement is unknown: https://www.pgbouncer.org/features.html
            connection.prepare_threshold = None

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        _begin(connection)

    @event.listens_for(engine, "handle_error")
    def handle_error(context: ExceptionContext) -> None:
        # After a failover pooled connections may lead to a server that is read-only by now.
        if getattr(context.original_exception, "sqlstate", None) == READ_ONLY_TRANSACTION:
            context.is_disconnect = True


@functools.cache
def begin_postgres(read_only: bool, timeout: float) -> str:
    """Return the SQL that begins a transaction with all settings that the code relies on.

    They are set for each transaction: poolers do not keep those of a session, and a database or
    role may have other defaults. `timeout` is that of a statement, in seconds.
    """
    isolation = "REPEATABLE READ READ ONLY" if read_only else "READ COMMITTED"
    settings = {
        "statement_timeout": f"{timeout:g}s",
        "lock_timeout": f"{LOCK_TIMEOUT}s",
        "idle_in_transaction_session_timeout": f"{IDLE_IN_TRANSACTION_TIMEOUT}s",
        "timezone": "UTC",
        "datestyle": "ISO",
        # Rows are found by an index, and what is read often is in memory. The default is for disks
        # that have to turn, and makes the planner read the whole table.
        "random_page_cost": "1.1",
    }
    sets = "".join(f"; SET LOCAL {name} = '{value}'" for name, value in settings.items())
    return f"BEGIN ISOLATION LEVEL {isolation}{sets}"


def _addresses(options: dict[str, Any]) -> dict[str, str]:
    """Return the addresses of the host, so that libpq does not look its name up.

    libpq would block the whole process for as long as a name server is silent. Raises
    psycopg.OperationalError if the name is not found within NAME_LOOKUP_TIMEOUT.
    """
    host, port = options.get("host"), options.get("port") or 5432
    if not transport.GREEN or not host or "hostaddr" in options or not _is_name(host):
        return {}
    try:
        found = transport.resolve(host, int(port), NAME_LOOKUP_TIMEOUT)
    except (OSError, TimeoutError) as error:
        raise psycopg.OperationalError("the database's host name was not found") from error
    return {
        "host": ",".join([host] * len(found)),
        "hostaddr": ",".join(found),
        "port": ",".join([str(port)] * len(found)),
    }


def _is_name(host: str) -> bool:
    if host.startswith(("/", "@")) or "," in host:  # a socket's folder, several hosts
        return False
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(host)
        return False
    return True
