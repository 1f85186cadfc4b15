"""Run reads and transactions on the database, all with deadlines.

A call waits up to `WAIT_TIMEOUT` seconds for its slot; on PostgreSQL it then has `DEADLINE`
seconds. When the server hangs or cannot be reached, calls fail at once until a probe succeeds.
"""

import contextlib
import gc
import logging
import math
import secrets
import threading
import time
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from typing import Any, NamedTuple, TypeVar

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
    String,
    any_,
    bindparam,
    case,
    func,
    inspect,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, OperationalError

from ..concurrency import runtime
from ..concurrency.bounded_queue import BoundedQueue
from ..errors import DATABASE_ERRORS, DatabaseUnavailable, Overloaded
from ..extensions import Base, db, migrate
from ..models import MAIN, BoardVersion, RevokedToken, Score
from ..services import services
from . import engine
from .engine import POSTGRES_BEGIN_READ, POSTGRES_BEGIN_WRITE, DeadlineExceeded

T = TypeVar("T")
log = logging.getLogger(__name__)

# Client-side limit of a whole read or transaction, in seconds.
DEADLINE = 4
# Callers that may wait for a connection or for SQLite's single writer, and for how many seconds.
MAX_WAITING = 1000
WAIT_TIMEOUT = 4
# Measured with 1 and 5 million scores: 7 to 26 on SQLite, 4 to 15 on Postgres, on two busy cores.
UPGRADE_SECONDS_PER_MILLION = 30
# Seconds between two probes during an outage.
PROBE_INTERVAL = 0.2
# SQLSTATEs of a transaction that PostgreSQL ends to resolve a conflict:
# https://www.postgresql.org/docs/current/mvcc-serialization-failure-handling.html
CONFLICTS = ("40001", "40P01")
LOCK_NOT_AVAILABLE = "55P03"
MAX_ATTEMPTS = 3

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NOW, _COUNT = bindparam("now", type_=BigInteger), bindparam("count", type_=BigInteger)
_NEXT_VERSION = (
    update(BoardVersion)
    .values(
        version=BoardVersion.version + 1,
        stamp=func.coalesce(bindparam("new_stamp", type_=String), BoardVersion.stamp),
        clock=case((BoardVersion.clock < _NOW, _NOW), else_=BoardVersion.clock) + _COUNT,
    )
    .where(BoardVersion.board_id == bindparam("ledger_id"))
    .returning(BoardVersion.version, BoardVersion.clock, BoardVersion.settings_version)
    .execution_options(synchronize_session=False)
)


class Access(Enum):
    """What a call does with the database."""

    READ = auto()
    QUERY = auto()  # one statement, without a transaction
    LONG_READ = auto()
    WRITE = auto()
    LEDGER_WRITE = auto()


WRITES = (Access.WRITE, Access.LEDGER_WRITE)


class Database:
    """The database of one application: its engine, its queue, and whether it is down."""

    def __init__(self, sql_engine: Engine, observe_wait: Callable[[float], object]) -> None:
        """Create its queue, which passes the seconds of each wait to `observe_wait`."""
        self.engine = sql_engine
        self.is_sqlite = sql_engine.dialect.name == "sqlite"
        slots = 1
        shared: tuple[type[Exception], ...] = ()
        if self.is_sqlite:
            # SQLite has one writer at a time. Others wait here instead of polling in threads, and
            # fail with a writer that found the file locked.
            shared = DATABASE_ERRORS
        else:
            # One connection is reserved for ledgers. A second ledger that writes meanwhile queues.
            slots = max(1, sql_engine.pool.size() - 1)  # type: ignore[attr-defined]
        self._queue = BoundedQueue(
            slots, MAX_WAITING, WAIT_TIMEOUT, shared=shared, observe_wait=observe_wait
        )
        self._reserved = threading.Semaphore(1)
        self._state_lock = threading.Lock()
        self.is_down = False
        # Whether the last write succeeded, and its time (`time.monotonic`).
        self._wrote = True
        self._wrote_at = -math.inf
        # Whether SQLite's writer in this process has no deadline.
        self._is_long = False

    def run(self, work: Callable[[Connection], T], access: Access) -> T:
        """Return the result of `work` on a connection. Raises what `read` raises."""
        run = self._run_sqlite if self.is_sqlite else self._run_postgres
        if access not in WRITES:
            return run(work, access)
        try:
            result = run(work, access)
        except DATABASE_ERRORS:
            self._note_write(False)
            raise
        self._note_write(True)
        return result

    def _run_sqlite(self, work: Callable[[Connection], T], access: Access) -> T:
        if access in WRITES:
            # IMMEDIATE takes the write lock first. If a transaction reads before it writes and the
            # database has changed between, SQLite fails at once, without waiting.
            with self._queue.slot(), self._connected("BEGIN IMMEDIATE") as connection:
                try:
                    return runtime.run_in_thread(_begin_and_work, connection, work)
                finally:
                    self._is_long = False
        with self._connected("" if access is Access.QUERY else "BEGIN") as connection:
            if access is Access.LONG_READ:
                return runtime.run_in_thread(work, connection)
            return work(connection)

    def _run_postgres(self, work: Callable[[Connection], T], access: Access) -> T:
        """Run `work`; retry after a conflict, or if the pooled connection was already dead."""
        begin = POSTGRES_BEGIN_WRITE if access in WRITES else POSTGRES_BEGIN_READ
        if access is Access.QUERY:
            begin = ""
        with self._slot(access):
            deadline = time.monotonic() + DEADLINE
            for attempt in range(1, MAX_ATTEMPTS + 1):
                if self.is_down:
                    raise DatabaseUnavailable
                begun = False
                try:
                    with self._connected(begin, deadline) as connection:
                        connection.begin()
                        begun = bool(begin)  # without a transaction the statement only reads
                        result = work(connection)
                        if access in WRITES:
                            connection.commit()
                        return result
                except DBAPIError as error:
                    is_dead = error.connection_invalidated and not begun
                    sqlstate = getattr(error.orig, "sqlstate", None)
                    is_conflict = sqlstate in CONFLICTS
                    if sqlstate == LOCK_NOT_AVAILABLE:
                        # Another transaction runs: nothing has failed, and nothing was changed.
                        raise Overloaded from error
                    if isinstance(error.orig, DeadlineExceeded):
                        self._note_outage(error)
                    elif (
                        attempt < MAX_ATTEMPTS
                        and (is_dead or is_conflict)
                        and time.monotonic() < deadline
                    ):
                        continue
                    raise
        raise AssertionError("unreachable")

    @contextlib.contextmanager
    def _slot(self, access: Access) -> Iterator[None]:
        """Wait for a connection; a ledger uses the reserved one if that is free."""
        if access is Access.LEDGER_WRITE and self._reserved.acquire(blocking=False):
            try:
                yield
            finally:
                self._reserved.release()
        else:
            with self._queue.slot():
                yield

    @contextlib.contextmanager
    def _connected(self, begin: str, deadline: float = math.inf) -> Iterator[Connection]:
        try:
            connection = self.engine.connect()
        except OperationalError as error:
            # If other connections are in use, the server has only reached its connection limit.
            if not self.is_sqlite and self.engine.pool.checkedout() == 0:  # type: ignore[attr-defined]
                self._note_outage(error)
            raise
        with connection:
            connection.execution_options(begin=begin, database=self)
            if self.is_sqlite:
                yield connection
                return
            driver: Any = connection.connection.dbapi_connection
            driver.deadline = deadline
            try:
                yield connection
            finally:
                driver.deadline = math.inf

    def _note_outage(self, error: Exception) -> None:
        """Make calls fail at once until a probe succeeds."""
        with self._state_lock:
            if self.is_down:
                return
            self.is_down = True
        log.warning("the database does not respond: %s", type(error).__name__)
        runtime.spawn(self._probe)

    def _probe(self) -> None:
        while self.is_down:
            time.sleep(PROBE_INTERVAL)
            try:
                with self._connected("BEGIN", time.monotonic() + DEADLINE) as connection:
                    connection.exec_driver_sql("SELECT 1")
                self.is_down = False
            except DATABASE_ERRORS:
                # A failed connect leaves its socket open in a reference cycle.
                gc.collect(1)
        log.warning("the database responds again")

    def try_write(self) -> bool:
        """Try to write unless a write ended in the last second. Return whether it succeeded.

        Never raises. Yields to the loop. On SQLite the write is committed, since only a commit
        detects a full disk; on PostgreSQL it is rolled back, so that no update waits for it.
        SQLite has one writer: while that has no deadline, nothing is tried.
        """
        if time.monotonic() - self._wrote_at > 1 and not self._is_long:
            try:
                self.run(self._write_nothing, Access.WRITE)
            except Exception as error:
                log.warning("the database cannot be written to: %s", type(error).__name__)
                self._note_write(False)
        return self._wrote

    def _write_nothing(self, connection: Connection) -> None:
        if self.is_sqlite:
            main = update(BoardVersion).where(BoardVersion.board_id == MAIN)
            connection.execute(main.values(stamp=BoardVersion.stamp))
            return
        now = datetime.now(UTC)
        row = {"token_id": secrets.token_hex(16), "revoked_at": now, "expires_at": now}
        with connection.begin_nested() as savepoint:
            connection.execute(insert(RevokedToken, "postgresql"), row)
            savepoint.rollback()

    def lift_deadline(self, connection: Connection) -> None:
        """See the function `lift_deadline`."""
        if self.is_sqlite:
            self._is_long = True
            return
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        driver: Any = connection.connection.dbapi_connection
        driver.deadline = math.inf

    def _note_write(self, succeeded: bool) -> None:
        self._wrote, self._wrote_at = succeeded, time.monotonic()

    def close(self) -> None:
        """Close all idle connections. Blocks while SQLite writes its write-ahead log back."""
        engine.close(self.engine)


def init_app(app: Flask) -> None:
    """Set up the engine. A SQLite database is migrated to the current schema.

    Raises SystemExit if the SQLite file cannot be opened and written to.
    """
    with app.app_context():
        observe_wait = services(app).metrics.queue_wait_seconds.labels("database").observe
        database = services(app).database = Database(db.engine, observe_wait)
        engine.prepare(db.engine)
        if not database.is_sqlite:
            return
        # Writes the log back at exit; the last process to do so completes the file.
        weakref.finalize(database, engine.close, db.engine)
        try:
            db.engine.connect().close()
            if not is_up_to_date():
                if expected := expected_upgrade():
                    log.warning("upgrading the tables: %s", expected)
                upgrade()
            usable = database.try_write()
        except OperationalError:
            usable = False
    if not usable:
        raise SystemExit(
            "scoreboard: setting DATABASE_URL names no file that can be opened and written to"
        )


def is_up_to_date() -> bool:
    """Whether the schema is the one of this version of the code. Raises what `read` raises."""
    newest = ScriptDirectory(migrate.directory).get_current_head()
    return read(lambda c: MigrationContext.configure(c).get_current_revision()) == newest


def expected_upgrade() -> str | None:
    """Return about how long an upgrade of the tables takes by its number of scores, None without.

    Raises what `read` raises.
    """

    def newest_score(connection: Connection) -> int:
        if not inspect(connection).has_table(Score.__tablename__):
            return 0
        return connection.execute(select(func.max(Score.score_id))).scalar() or 0

    count = read(newest_score)
    minutes = math.ceil(count * UPGRADE_SECONDS_PER_MILLION / 1_000_000 / 60)
    return f"{count:,} scores take up to about {minutes} min" if count else None


def _run(work: Callable[[Connection], T], access: Access) -> T:
    """Run `work` on the database of the current application, and count a failure."""
    with services().metrics.database_errors.count_exceptions(DATABASE_ERRORS):
        return services().database.run(work, access)


def read(work: Callable[[Connection], T]) -> T:
    """Return the result of `work`, whose reads all see one snapshot.

    On SQLite `work` blocks the loop. Raises one of DATABASE_ERRORS if the database fails or does
    not respond within `DEADLINE` seconds, and Overloaded if too many callers wait.
    """
    return _run(work, Access.READ)


def query(statement: Executable, parameters: Mapping[str, Any]) -> Sequence[Any]:
    """Return the rows of one statement, as `read` does, but faster: without a transaction."""
    return _run(lambda c: c.execute(statement, parameters).all(), Access.QUERY)


def long_read(work: Callable[[Connection], T]) -> T:
    """Return the result of a long read. On SQLite it runs in a thread; see `transaction`."""
    return _run(work, Access.LONG_READ)


def transaction(work: Callable[[Connection], T], reserved: bool = False) -> T:
    """Return the result of `work` in one transaction, which is rolled back if `work` raises.

    `work` may be called again: when PostgreSQL ends the transaction because of a conflict, or when
    the connection was dead before anything was sent. SQLite blocks its thread while it writes or
    waits for the lock, so there `work` runs in a thread; it must not use Flask's context or green
    locks. Yields to the loop. `reserved` uses the connection that is reserved for the ledger.

    Raises what `read` raises, and on Postgres Overloaded if another transaction holds a lock for
    longer than LOCK_TIMEOUT. After one of DATABASE_ERRORS it may be unknown whether a commit took
    effect.
    """
    return _run(work, Access.LEDGER_WRITE if reserved else Access.WRITE)


def lift_deadline(connection: Connection) -> None:
    """Let the rest of a transaction, which writes all standings of a board, take long enough.

    If the server hangs meanwhile, other calls detect it. Waits for locks keep their timeout.
    """
    database: Database = connection.get_execution_options()["database"]
    database.lift_deadline(connection)


def _begin_and_work(connection: Connection, work: Callable[[Connection], T]) -> T:
    with connection.begin():
        return work(connection)


class LedgerVersion(NamedTuple):
    """A version of a ledger, made by `next_version`. `clock` is in microseconds since the epoch."""

    version: int
    clock: int
    settings_version: int


def now() -> int:
    """Return the time of this machine in microseconds since the epoch, as ledgers use it."""
    return time.time_ns() // 1000


def next_version(
    connection: Connection, count: int = 0, ledger_id: str = MAIN, keeps_stamp: bool = False
) -> LedgerVersion | None:
    """Increment the version of a ledger and lock it: other processes wait until the commit.

    Its clock moves on by `count` updates, whose server times are `moments(clock, count)`: later
    than all times of earlier versions, whichever process made them and however its clock has
    changed. `keeps_stamp` is for a change that calls `versions.touch` for the boards that change.
    Returns None if there is no such ledger.
    """
    parameters = {
        "ledger_id": ledger_id,
        "new_stamp": None if keeps_stamp else secrets.token_hex(8),
        "now": now(),
        "count": count,
    }
    row = connection.execute(_NEXT_VERSION, parameters).first()
    return LedgerVersion(*row) if row else None


def moments(clock: int, count: int) -> Iterator[datetime]:
    """Return `count` server times, a microsecond apart; the last is the clock."""
    return map(moment_of, range(clock - count + 1, clock + 1))


def moment_of(microseconds: int) -> datetime:
    """Return the time that is this many microseconds after the epoch."""
    return EPOCH + timedelta(microseconds=microseconds)


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


def insert(table: type[Base], dialect: str) -> Any:
    """Return an INSERT into the table that supports ON CONFLICT, for the named dialect."""
    return (sqlite if dialect == "sqlite" else postgresql).insert(table)
