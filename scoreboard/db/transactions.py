"""Database access: short reads, and writes in one transaction each, all with deadlines.

Nobody waits for the database for more than DEADLINE seconds. When a server hangs or cannot be
reached, requests fail at once until a probe has found it to work again.
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
from flask import Flask, current_app
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

from ..concurrency import runtime as transport
from ..concurrency.gate import Gate
from ..errors import FAILURES as FAILURES
from ..errors import DatabaseUnavailable
from ..extensions import Base, db, migrate
from ..models import BoardVersion, RevokedToken
from ..observability import metrics
from . import engine as engines

T = TypeVar("T")
log = logging.getLogger(__name__)

# For a read or a transaction as a whole, in seconds, on the client's side.
DEADLINE = 4
# How many callers may wait for a connection, or for SQLite's one writer, and for how long.
MAX_WAITING = 1000
WAIT_TIMEOUT = 4
# While the database does not answer, how long between two probes, in seconds.
PROBE_INTERVAL = 0.2
# Conflicts between transactions that PostgreSQL resolves by failing one of them:
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
# Changes nothing, but has to be written.
_NO_CHANGE = (
    update(BoardVersion)
    .values(stamp=BoardVersion.stamp)
    .execution_options(synchronize_session=False)
)


class Database:
    """The database of one application: its engine, its queues, and whether it answers."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.is_sqlite = engine.dialect.name == "sqlite"
        if self.is_sqlite:
            # One writer at a time is what SQLite can do: the rest wait here, not in threads that
            # try again and again, and share the failure of one that found the file locked.
            self._writers = Gate(1, MAX_WAITING, WAIT_TIMEOUT, shared=FAILURES)
        else:
            # One connection is the ledger's, which has one transaction at a time.
            size = engine.pool.size()  # type: ignore[attr-defined]
            self._gate = Gate(max(1, size - 1), MAX_WAITING, WAIT_TIMEOUT)
        self._probing = threading.Lock()
        self.is_down = False
        # The outcome of the last write, and when it was, by time.monotonic.
        self._wrote = True
        self._wrote_at = float("-inf")

    def read(
        self, work: Callable[[Connection], T], in_thread: bool = False, begin: str | None = None
    ) -> T:
        """Return what `work` reads, as of one moment. See the module's `read`."""
        if self.is_sqlite:
            with self._connected("BEGIN" if begin is None else begin) as connection:
                return transport.off_loop(work, connection) if in_thread else work(connection)
        if begin is None:
            begin = engines.begin_postgres(True, engines.STATEMENT_TIMEOUT)
        with self._gate.slot():
            return self._run(begin, work, DEADLINE, commit=False)

    def transaction(
        self, work: Callable[[Connection], T], timeout: float | None, reserved: bool
    ) -> T:
        """Return what `work` does in one transaction. See the module's `transaction`."""
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
            # Taking the write lock first: a read that turns into a write may find the
            # database changed meanwhile, and SQLite then refuses at once, without waiting.
            with self._writers.slot(), self._connected("BEGIN IMMEDIATE") as connection:
                return transport.off_loop(_begin_and_work, connection, work)
        begin = engines.begin_postgres(False, timeout or engines.STATEMENT_TIMEOUT)
        with contextlib.nullcontext() if reserved else self._gate.slot():
            return self._run(begin, work, timeout or DEADLINE, commit=True)

    def _run(self, begin: str, work: Callable[[Connection], T], timeout: float, commit: bool) -> T:
        """Run `work` in a transaction of PostgreSQL; again if that cannot have done anything."""
        deadline = time.monotonic() + timeout
        for attempt in range(1, MAX_ATTEMPTS + 1):
            if self.is_down:
                raise DatabaseUnavailable
            begun = False
            try:
                with self._connected(begin, deadline) as connection:
                    connection.begin()
                    begun = bool(begin)  # a statement on its own only reads
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
                    # A connection that had died in the pool, or a conflict.
                    continue
                raise
        raise AssertionError("unreachable")

    @contextlib.contextmanager
    def _connected(self, begin: str, deadline: float | None = None) -> Iterator[Connection]:
        try:
            connection = self.engine.connect()
        except OperationalError as error:
            # Where other connections are in use, the server has merely no more of them.
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
        """Have requests fail at once from now on, until a probe succeeds."""
        with self._probing:
            if self.is_down:
                return
            self.is_down = True
        log.warning("the database does not answer: %s", type(error).__name__)
        transport.spawn(self._probe)

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
        """Whether a write succeeds. Answers from the last write if that is under a second ago.

        Otherwise writes something that changes nothing: to SQLite in earnest, since a full disk
        shows only there; to PostgreSQL rolled back, so that no update waits for it.
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
        """Close all connections that are not in use. Blocks while SQLite writes its log back."""
        if self.is_sqlite:
            engines.close_sqlite(self.engine)
        else:
            self.engine.dispose()


def init_app(app: Flask) -> None:
    """Set the engine up; the embedded default brings its tables up to date by itself."""
    with app.app_context():
        database = app.extensions["database"] = Database(db.engine)
        if database.is_sqlite:
            engines.prepare_sqlite(db.engine)
            atexit.register(_close, weakref.ref(database))
            _bring_up_to_date(database)
        else:
            engines.prepare_postgres(db.engine)


def _close(reference: "weakref.ref[Database]") -> None:
    """Close the database of a process that ends; the last one to do so writes the log back."""
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


def _current() -> Database:
    database: Database = current_app.extensions["database"]
    return database


def is_up_to_date() -> bool:
    """Whether the tables are those of this version of the code."""
    wanted = ScriptDirectory(migrate.directory).get_current_head()
    return read(lambda c: MigrationContext.configure(c).get_current_revision()) == wanted


def is_writable() -> bool:
    """Whether a write succeeds, as of a second ago at most. Blocks for DEADLINE seconds at most."""
    return _current().is_writable()


@metrics.DATABASE_ERRORS.count_exceptions(FAILURES)
def read(work: Callable[[Connection], T]) -> T:
    """Return what `work` reads, all of it as of one moment.

    The connection goes back to the pool at once. Raises one of FAILURES if the database fails or
    does not answer within DEADLINE seconds, and Overloaded if too many callers wait already.
    """
    return _current().read(work)


@metrics.DATABASE_ERRORS.count_exceptions(FAILURES)
def query(statement: Executable, parameters: Mapping[str, Any]) -> Sequence[Any]:
    """Return the rows of one statement, as `read` does.

    Faster than `read`: a statement on its own sees one moment without a transaction around it.
    """
    return _current().read(lambda c: c.execute(statement, parameters).all(), begin="")


@metrics.DATABASE_ERRORS.count_exceptions(FAILURES)
def long_read(work: Callable[[Connection], T]) -> T:
    """Return what `work` reads, as `read` does, but where it may take its time.

    With SQLite it runs in a thread of its own, and what holds for `transaction` holds for it.
    """
    return _current().read(work, in_thread=True)


@metrics.DATABASE_ERRORS.count_exceptions(FAILURES)
def transaction(
    work: Callable[[Connection], T], timeout: float | None = None, reserved: bool = False
) -> T:
    """Return what `work` does in one transaction, undone as a whole if it raises.

    `work` may be called again: when PostgreSQL resolves a conflict by failing this transaction, or
    when the connection turns out to be dead before anything was sent. SQLite blocks its thread
    while it writes and while it waits to, so there `work` runs in a thread of its own; it must not
    touch Flask's context or anything that waits.

    `timeout` is for all of it, in seconds, on PostgreSQL; by default DEADLINE. `reserved` is for
    the ledger alone: it uses the connection that is kept for it.

    Raises one of FAILURES if the database fails or does not answer in time (then nobody knows
    whether a commit that was under way took place), and Overloaded if too many callers wait.
    """
    return _current().transaction(work, timeout, reserved)


def _begin_and_work(connection: Connection, work: Callable[[Connection], T]) -> T:
    with connection.begin():
        return work(connection)


def _is_conflict(error: DBAPIError) -> bool:
    return getattr(error.orig, "sqlstate", None) in CONFLICTS


def next_version(connection: Connection, moments: int = 0) -> tuple[int, Iterator[datetime]]:
    """Make the board's next version, and hold it: no other process makes one until the commit.

    With it come that many moments of server time, a microsecond apart: each is later than all
    that came with earlier versions, whichever process made them and whatever its clock did since.
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
    """Return the condition that the column has one of the values of `any_of` in the parameter.

    Unlike an IN with a parameter for each value, it is one statement for any number of values, so
    that it is compiled and prepared once.
    """
    if dialect == "sqlite":
        return column.in_(select(func.json_each(bindparam(parameter)).table_valued("value")))
    return column == any_(bindparam(parameter, type_=postgresql.ARRAY(column.type)))


def any_of(values: Collection[str], dialect: str) -> Any:
    """Return the values as the parameter of `is_any`."""
    return orjson.dumps(list(values)).decode() if dialect == "sqlite" else list(values)


def dialect() -> str:
    """Return the name of the database's dialect: `sqlite` or `postgresql`."""
    return str(_current().engine.dialect.name)


def insert(table: type[Base], dialect: str) -> Any:
    """Return an INSERT into the table that knows ON CONFLICT, for a dialect by its name."""
    return (sqlite if dialect == "sqlite" else postgresql).insert(table)
