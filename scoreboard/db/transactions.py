"""Run reads and transactions on the database, all with deadlines.

A call waits up to `WAIT_TIMEOUT` seconds for its slot; on PostgreSQL it then has `DEADLINE` seconds
or its own timeout. When the server hangs or cannot be reached, calls fail at once until a probe
succeeds.
"""

import atexit
import contextlib
import gc
import logging
import secrets
import threading
import time
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import orjson
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask import Flask
from flask_migrate import upgrade
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Engine,
    Executable,
    any_,
    bindparam,
    case,
    func,
    select,
    update,
)
from sqlalchemy import insert as insert_row
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, OperationalError

from ..concurrency import runtime
from ..concurrency.bounded_queue import BoundedQueue
from ..errors import FAILURES as FAILURES
from ..errors import DatabaseUnavailable
from ..extensions import Base, db, migrate
from ..models import BoardVersion, RevokedToken
from ..services import services
from . import engine as engines

T = TypeVar("T")
log = logging.getLogger(__name__)

# Client-side limit of a whole read or transaction, in seconds.
DEADLINE = 4
# Callers that may wait for a connection or for SQLite's single writer, and for how many seconds.
MAX_WAITING = 1000
WAIT_TIMEOUT = 4
# Seconds between two probes during an outage.
PROBE_INTERVAL = 0.2
# SQLSTATEs of a transaction that PostgreSQL ends to resolve a conflict:
# https://www.postgresql.org/docs/current/mvcc-serialization-failure-handling.html
CONFLICTS = ("40001", "40P01")
MAX_ATTEMPTS = 3

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NOW = bindparam("now", type_=BigInteger)
_LATEST = case((BoardVersion.clock < _NOW, _NOW), else_=BoardVersion.clock)
_NEXT_VERSION = (
    update(BoardVersion)
    .values(
        version=BoardVersion.version + 1,
        stamp=bindparam("new_stamp"),
        clock=_LATEST + bindparam("moments", type_=BigInteger),
    )
    .returning(BoardVersion.version, BoardVersion.clock)
    .execution_options(synchronize_session=False)
)
_ANY_ROW = insert_row(RevokedToken)
# Changes nothing, but SQLite must write it.
_NO_CHANGE = (
    update(BoardVersion)
    .values(stamp=BoardVersion.stamp)
    .execution_options(synchronize_session=False)
)


class Database:
    """The database of one application: its engine, its queues, and whether it is down."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.is_sqlite = engine.dialect.name == "sqlite"
        if self.is_sqlite:
            # SQLite has one writer at a time. The others wait here instead of polling in threads,
            # and fail together with a writer that found the file locked.
            self._writers = BoundedQueue(1, MAX_WAITING, WAIT_TIMEOUT, shared=FAILURES)
        else:
            # One connection is reserved for the ledger, which has one transaction at a time.
            size = engine.pool.size()  # type: ignore[attr-defined]
            self._gate = BoundedQueue(max(1, size - 1), MAX_WAITING, WAIT_TIMEOUT)
        self._probing = threading.Lock()
        self.is_down = False
        # Whether the last write succeeded, and its time (`time.monotonic`).
        self._wrote = True
        self._wrote_at = float("-inf")

    def read(
        self, work: Callable[[Connection], T], in_thread: bool = False, begin: str | None = None
    ) -> T:
        """Return the result of `work` on one snapshot. See the module's `read`."""
        if self.is_sqlite:
            with self._connected("BEGIN" if begin is None else begin) as connection:
                return runtime.run_in_thread(work, connection) if in_thread else work(connection)
        if begin is None:
            begin = engines.begin_postgres(True, engines.STATEMENT_TIMEOUT)
        with self._gate.slot():
            return self._run(begin, work, DEADLINE, commit=False)

    def transaction(
        self, work: Callable[[Connection], T], timeout: float | None, reserved: bool
    ) -> T:
        """Return the result of `work` in one transaction. See the module's `transaction`."""
        try:
            done = self._transaction(work, timeout, reserved)
        except FAILURES:
            self._note_write(False)
            raise
        self._note_write(True)
        return done

    def _transaction(
        self, work: Callable[[Connection], T], timeout: float | None, reserved: bool
    ) -> T:
        if self.is_sqlite:
            # IMMEDIATE takes the write lock first. If a transaction reads before it writes and the
            # database has changed between, SQLite fails at once, without waiting.
            with self._writers.slot(), self._connected("BEGIN IMMEDIATE") as connection:
                return runtime.run_in_thread(_begin_and_work, connection, work)
        begin = engines.begin_postgres(False, timeout or engines.STATEMENT_TIMEOUT)
        with contextlib.nullcontext() if reserved else self._gate.slot():
            return self._run(begin, work, timeout or DEADLINE, commit=True)

    def _run(self, begin: str, work: Callable[[Connection], T], timeout: float, commit: bool) -> T:
        """Run `work` in a PostgreSQL transaction; retry after a conflict or a dead connection."""
        deadline = time.monotonic() + timeout
        for attempt in range(1, MAX_ATTEMPTS + 1):
            if self.is_down:
                raise DatabaseUnavailable
            begun = False
            try:
                with self._connected(begin, deadline) as connection:
                    connection.begin()
                    begun = bool(begin)  # without a transaction the statement only reads
                    done = work(connection)
                    if commit:
                        connection.commit()
                    return done
            except DBAPIError as error:
                if time.monotonic() >= deadline:
                    self._note_outage(error)
                elif attempt < MAX_ATTEMPTS and (
                    _is_conflict(error) or (error.connection_invalidated and not begun)
                ):
                    # A conflict, or a pooled connection that was dead before anything was sent.
                    continue
                raise
        raise AssertionError("unreachable")

    @contextlib.contextmanager
    def _connected(self, begin: str, deadline: float | None = None) -> Iterator[Connection]:
        try:
            connection = self.engine.connect()
        except OperationalError as error:
            # If other connections are in use, the server has only reached its connection limit.
            if not self.is_sqlite and self.engine.pool.checkedout() == 0:  # type: ignore[attr-defined]
                self._note_outage(error)
            raise
        with connection:
            connection.execution_options(begin=begin)
            if deadline is None:
                yield connection
                return
            driver: Any = connection.connection.dbapi_connection
            driver.deadline = deadline
            try:
                yield connection
            finally:
                driver.deadline = float("inf")

    def _note_outage(self, error: Exception) -> None:
        """Make calls fail at once until a probe succeeds."""
        with self._probing:
            if self.is_down:
                return
            self.is_down = True
        log.warning("the database does not answer: %s", type(error).__name__)
        runtime.spawn(self._probe)

    def _probe(self) -> None:
        while True:
            time.sleep(PROBE_INTERVAL)
            try:
                deadline = time.monotonic() + DEADLINE
                with self._connected("BEGIN", deadline) as connection:
                    connection.exec_driver_sql("SELECT 1")
            except FAILURES:
                # A failed connect leaves its socket open in a reference cycle.
                gc.collect(1)
                continue
            self.is_down = False
            log.warning("the database answers again")
            return

    def is_writable(self) -> bool:
        """Whether a write succeeds: the outcome of the last write if it is under a second old.

        Otherwise runs a write that changes nothing. On SQLite it is committed, since only a commit
        detects a full disk; on PostgreSQL it is rolled back, so that no update waits for it.
        """
        if time.monotonic() - self._wrote_at > 1:
            try:
                self.transaction(self._write_nothing, None, reserved=False)
            except Exception as error:
                log.warning("the database cannot be written to: %s", type(error).__name__)
                self._note_write(False)
        return self._wrote

    def _write_nothing(self, connection: Connection) -> None:
        if self.is_sqlite:
            connection.execute(_NO_CHANGE)
            return
        moment = datetime.now(UTC)
        row = {"token_id": secrets.token_hex(16), "revoked_at": moment, "expires_at": moment}
        with connection.begin_nested() as savepoint:
            connection.execute(_ANY_ROW, row)
            savepoint.rollback()

    def _note_write(self, done: bool) -> None:
        self._wrote, self._wrote_at = done, time.monotonic()

    def close(self) -> None:
        """Close all idle connections. Blocks while SQLite writes its write-ahead log back."""
        if self.is_sqlite:
            engines.close_sqlite(self.engine)
        else:
            self.engine.dispose()


def init_app(app: Flask) -> None:
    """Set up the engine. A SQLite database is migrated to the current schema.

    Raises SystemExit if the SQLite file cannot be opened and written to.
    """
    with app.app_context():
        database = services(app).database = Database(db.engine)
        if database.is_sqlite:
            engines.prepare_sqlite(db.engine)
            atexit.register(_close, weakref.ref(database))
            _bring_up_to_date(database)
        else:
            engines.prepare_postgres(db.engine)


def _close(reference: "weakref.ref[Database]") -> None:
    """Close the database at exit. The last process to do so writes SQLite's log back."""
    if database := reference():
        database.close()


def _bring_up_to_date(database: Database) -> None:
    usable = True
    try:
        database.engine.connect().close()
        if not is_up_to_date():
            upgrade()
    except OperationalError:
        usable = False
    if not (usable and database.is_writable()):
        raise SystemExit(
            "scoreboard: setting DATABASE_URL names no file that can be opened and written to"
        )


@contextlib.contextmanager
def _current() -> Iterator[Database]:
    """Provide the database of the current application, and count its failures."""
    with services().metrics.database_errors.count_exceptions(FAILURES):
        yield services().database


def is_up_to_date() -> bool:
    """Whether the schema is the one of this version of the code. Raises what `read` raises."""
    wanted = ScriptDirectory(migrate.directory).get_current_head()
    return read(lambda c: MigrationContext.configure(c).get_current_revision()) == wanted


def is_writable() -> bool:
    """Whether a write succeeds, or did within the last second. Yields to the loop while it tries.

    Never raises. It takes as long as a `transaction` may.
    """
    return services().database.is_writable()


def read(work: Callable[[Connection], T]) -> T:
    """Return the result of `work`, whose reads all see one snapshot.

    The connection returns to the pool afterwards. On SQLite `work` blocks the loop. Raises one of
    `FAILURES` if the database fails or does not respond within `DEADLINE` seconds, and Overloaded
    if too many callers already wait.
    """
    with _current() as database:
        return database.read(work)


def query(statement: Executable, parameters: Mapping[str, Any]) -> Sequence[Any]:
    """Return the rows of one statement. Raises what `read` raises.

    Faster than `read`: a single statement sees one snapshot without a transaction.
    """
    with _current() as database:
        return database.read(lambda c: c.execute(statement, parameters).all(), begin="")


def long_read(work: Callable[[Connection], T]) -> T:
    """Return the result of `work`, as `read` does, for reads that take longer.

    On SQLite `work` runs in a thread, with the restrictions described at `transaction`.
    """
    with _current() as database:
        return database.read(work, in_thread=True)


def transaction(
    work: Callable[[Connection], T], timeout: float | None = None, reserved: bool = False
) -> T:
    """Return the result of `work` in one transaction, which is rolled back if `work` raises.

    `work` may be called again: when PostgreSQL ends the transaction because of a conflict, or when
    the connection was dead before anything was sent. SQLite blocks its thread while it writes or
    waits for the lock, so there `work` runs in a thread; it must not use Flask's context or green
    locks. Yields to the loop.

    `timeout` is the limit of the whole transaction in seconds, on PostgreSQL only; by default
    `DEADLINE`. `reserved` uses the connection that is reserved for the ledger.

    Raises one of `FAILURES` if the database fails or does not respond in time (it is then unknown
    whether a commit in progress took effect), and Overloaded if too many callers wait.
    """
    with _current() as database:
        return database.transaction(work, timeout, reserved)


def _begin_and_work(connection: Connection, work: Callable[[Connection], T]) -> T:
    with connection.begin():
        return work(connection)


def _is_conflict(error: DBAPIError) -> bool:
    return getattr(error.orig, "sqlstate", None) in CONFLICTS


def next_version(connection: Connection, moments: int = 0) -> tuple[int, Iterator[datetime]]:
    """Increment the board's version and lock it: other processes wait until the commit.

    Returns the version and `moments` server times, a microsecond apart. Each is later than all
    times of earlier versions, whichever process made them and however its clock has changed.
    """
    asked = {
        "new_stamp": secrets.token_hex(8),
        "now": time.time_ns() // 1000,
        "moments": moments,
    }
    version, last = connection.execute(_NEXT_VERSION, asked).one()
    given = range(last - moments + 1, last + 1)
    return version, (EPOCH + timedelta(microseconds=moment) for moment in given)


def is_any(column: Any, parameter: str, dialect: str) -> ColumnElement[bool]:
    """Return the condition that the column equals one of the parameter's values; see `any_of`.

    Unlike an IN with a parameter per value, the statement is the same for any number of values, so
    it is compiled and prepared once.
    """
    if dialect == "sqlite":
        return column.in_(select(func.json_each(bindparam(parameter)).table_valued("value")))
    return column == any_(bindparam(parameter, type_=postgresql.ARRAY(column.type)))


def any_of(values: Collection[str], dialect: str) -> Any:
    """Return the values in the form of the parameter of `is_any`."""
    return orjson.dumps(list(values)).decode() if dialect == "sqlite" else list(values)


def dialect() -> str:
    """Return the name of the database's dialect: `sqlite` or `postgresql`."""
    return str(services().database.engine.dialect.name)


def insert(table: type[Base], dialect: str) -> Any:
    """Return an INSERT into the table that supports ON CONFLICT, for the named dialect."""
    return (sqlite if dialect == "sqlite" else postgresql).insert(table)
