"""Configure the connections of a database engine, for SQLite and PostgreSQL."""

import contextlib
import ipaddress
import math
import os
import time
from typing import Any

import psycopg
from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine.interfaces import ExceptionContext

from ..concurrency import runtime

# Seconds that a writer waits for another process's transaction. Other writers queue behind it.
SQLITE_BUSY_TIMEOUT = 2
# Server-side timeouts of a transaction, in seconds. They are shorter than the client's deadline
# (`transactions.DEADLINE`), so that a server that still responds reports which limit was exceeded.
STATEMENT_TIMEOUT = 3
LOCK_TIMEOUT = 2
# Seconds after which the server ends the idle transaction of a frozen process, with its locks.
IDLE_IN_TRANSACTION_TIMEOUT = 5
NAME_LOOKUP_TIMEOUT = 2

# A statement without a deadline fails within a minute after the server's host has vanished.
KEEPALIVES = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}

READ_ONLY_TRANSACTION = "25006"  # SQLSTATE read_only_sql_transaction

# Begin a transaction with all settings that the code relies on. They are set in each transaction,
# because poolers do not keep session settings and a database or role may have other defaults.
# Queries use indexes, and hot rows are in memory: the default of random_page_cost is for spinning
# disks and makes the planner scan whole tables.
_SETTINGS = f"""
; SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}s'
; SET LOCAL lock_timeout = '{LOCK_TIMEOUT}s'
; SET LOCAL idle_in_transaction_session_timeout = '{IDLE_IN_TRANSACTION_TIMEOUT}s'
; SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO'; SET LOCAL random_page_cost = '1.1'
"""
POSTGRES_BEGIN_READ = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" + _SETTINGS
POSTGRES_BEGIN_WRITE = "BEGIN ISOLATION LEVEL READ COMMITTED" + _SETTINGS


class DeadlineExceeded(psycopg.OperationalError):
    """The server has not responded before the deadline of its connection."""


class DeadlineConnection(psycopg.Connection[Any]):
    """A psycopg connection whose waits end at `deadline` (`time.monotonic`).

    It is then closed, in the middle of an exchange, and raises DeadlineExceeded. Server-side
    timeouts do not help when the server hangs with its sockets open.
    """

    deadline = math.inf

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """Wait as psycopg does, but not past the deadline."""
        remaining = max(0.0, self.deadline - time.monotonic())
        if timeout is None or remaining < timeout:
            timeout = None if remaining == math.inf else remaining
        try:
            return super().wait(gen, interval, timeout)
        except psycopg.OperationalError as error:
            if time.monotonic() >= self.deadline:
                self.close()
                raise DeadlineExceeded from error
            raise


def prepare(engine: Engine) -> None:
    """Configure every connection of this engine, and create a missing SQLite file.

    A transaction begins with the SQL of the execution option `begin`, none if that is empty.
    """
    if engine.dialect.name == "sqlite":
        _prepare_sqlite(engine)
    else:
        _prepare_postgres(engine)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        if sql := connection.get_execution_options().get("begin", "BEGIN"):
            connection.exec_driver_sql(sql)


def _prepare_sqlite(engine: Engine) -> None:
    # Readable only by its owner, because it holds password hashes. SQLite gives its -wal and -shm
    # files the same permissions.
    with contextlib.suppress(OSError):  # the file exists, or SQLite will report the problem
        path = engine.url.database or ""
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))

    @event.listens_for(engine, "connect")
    def connect(connection: Any, record: Any) -> None:
        # The driver's implicit BEGIN does not cover reads and takes no lock.
        connection.isolation_level = None
        for pragma in (
            "foreign_keys=ON",
            "journal_mode=WAL",
            # Most guides recommend NORMAL with WAL, which may lose the newest commits in a power
            # cut. An acknowledged update must not be lost.
            "synchronous=FULL",
            f"busy_timeout={SQLITE_BUSY_TIMEOUT * 1000}",
        ):
            connection.execute(f"PRAGMA {pragma}")


def _prepare_postgres(engine: Engine) -> None:
    @event.listens_for(engine, "do_connect")
    def do_connect(dialect: Any, record: Any, arguments: Any, options: dict[str, Any]) -> Any:
        options = {**KEEPALIVES, **options, **_addresses(options)}
        return DeadlineConnection.connect(*arguments, **options)

    @event.listens_for(engine, "connect")
    def connect(connection: Any, record: Any) -> None:
        # Transactions begin explicitly, with their settings in the same round trip.
        connection.autocommit = True
        (pid,) = connection.execute("SELECT pg_backend_pid()").fetchone()
        if pid != connection.info.backend_pid:
            # Behind a pooler the next transaction may run in another session, where a prepared
            # statement does not exist: https://www.pgbouncer.org/features.html
            connection.prepare_threshold = None

    @event.listens_for(engine, "handle_error")
    def handle_error(context: ExceptionContext) -> None:
        # After a failover, pooled connections may lead to a server that has become read-only.
        if getattr(context.original_exception, "sqlstate", None) == READ_ONLY_TRANSACTION:
            context.is_disconnect = True


def close(engine: Engine) -> None:
    """Close all idle connections. Blocks while SQLite writes its write-ahead log back.

    The file is then the complete database, unless another process has it open.
    """
    if engine.dialect.name == "sqlite":
        with contextlib.suppress(Exception), engine.connect() as connection:
            connection.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    engine.dispose()


def _addresses(options: dict[str, Any]) -> dict[str, str]:
    """Return connection options with the host's addresses, so that libpq does no name lookup.

    That would block the whole process. Yields to the loop. Raises psycopg.OperationalError if the
    name is not resolved within `NAME_LOOKUP_TIMEOUT`.
    """
    host, port = options.get("host"), options.get("port") or 5432
    if not runtime.ON_EVENTLET or not host or "hostaddr" in options or not _is_name(host):
        return {}
    try:
        found = runtime.resolve(host, int(port), NAME_LOOKUP_TIMEOUT)
    except (OSError, TimeoutError) as error:
        raise psycopg.OperationalError("the database's host name was not found") from error
    return {
        "host": ",".join([host] * len(found)),
        "hostaddr": ",".join(found),
        "port": ",".join([str(port)] * len(found)),
    }


def _is_name(host: str) -> bool:
    if host.startswith(("/", "@")) or "," in host:  # a Unix socket, or several hosts
        return False
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(host)
        return False
    return True
