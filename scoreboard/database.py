"""How work reaches the database: short reads, and writes in one transaction off the loop."""

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask import Flask
from flask_migrate import upgrade
from sqlalchemy import BigInteger, Connection, Engine, bindparam, case, event, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import (
    InterfaceError,
    InternalError,
    OperationalError,
    TimeoutError,
)

from . import metrics
from .extensions import Base, db, migrate
from .models import BoardVersion
from .realtime.transport import off_loop

T = TypeVar("T")

# How long a writer waits for another process's transaction before it is an error, in seconds.
SQLITE_BUSY_SECONDS = 10
# How long Postgres may take for one statement before it is an error: then the client is told.
STATEMENT_SECONDS = 5
# The database failing, and none of its answers, such as that a name is taken. TimeoutError is
# the pool's: no connection came free.
FAILURES = (OperationalError, InterfaceError, InternalError, TimeoutError)

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


def init_app(app: Flask) -> None:
    """Set the engine up; the embedded default brings its tables up to date by itself."""
    with app.app_context():
        if db.engine.dialect.name == "sqlite":
            _prepare_sqlite(db.engine)
            _bring_up_to_date(db.engine)
        else:
            _prepare_postgres(db.engine)


def _bring_up_to_date(engine: Engine) -> None:
    try:
        engine.connect().close()
    except OperationalError:
        raise SystemExit(
            "scoreboard: setting DATABASE_URL names no file that can be used"
        ) from None
    if not is_up_to_date():
        upgrade()


def is_up_to_date() -> bool:
    """Whether the tables are those of this version of the code."""
    wanted = ScriptDirectory(migrate.directory).get_current_head()
    return read(lambda c: MigrationContext.configure(c).get_current_revision()) == wanted


@metrics.DATABASE_ERRORS.count_exceptions(FAILURES)
def read(work: Callable[[Connection], T]) -> T:
    """Return what `work` reads, all of it as of one moment.

    The connection goes back to the pool at once: one that was kept while waiting for a turn to
    write would, with many waiting, leave none for the writer.
    """
    with _reading() as connection:
        return work(connection)


@metrics.DATABASE_ERRORS.count_exceptions(FAILURES)
def long_read(work: Callable[[Connection], T]) -> T:
    """Return what `work` reads, as `read` does, but where it may take its time.

    With SQLite it runs in a thread of its own, and what holds for `transaction` holds for it.
    """
    with _reading() as connection:
        if connection.dialect.name == "sqlite":
            return _in_a_thread(work, connection)
        return work(connection)


@contextmanager
def _reading() -> Iterator[Connection]:
    with db.engine.connect() as connection:
        if connection.dialect.name != "sqlite":
            connection.execution_options(isolation_level="REPEATABLE READ")
        yield connection


@metrics.DATABASE_ERRORS.count_exceptions(FAILURES)
def transaction(work: Callable[[Connection], T]) -> T:
    """Return what `work` does in one transaction, undone as a whole if it raises.

    SQLite blocks its thread while it writes and while it waits to, so there the work runs in a
    thread of its own. It must not touch Flask's context or anything that waits.
    """
    with db.engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            # Taking the write lock first: a read that turns into a write may find the
            # database changed meanwhile, and SQLite then refuses at once, without waiting.
            connection.execution_options(begin="IMMEDIATE")
            return _in_a_thread(_run, connection, work)
        return _run(connection, work)


_at_work = 0


def threads_work() -> bool:
    """Whether a thread has work to do for anybody who reads or writes."""
    return _at_work > 0


def _in_a_thread(work: Callable[..., T], *args: Any) -> T:
    global _at_work
    _at_work += 1
    try:
        return off_loop(work, *args)
    finally:
        _at_work -= 1


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


def insert(table: type[Base], dialect: str) -> Any:
    """Return an INSERT into the table that knows ON CONFLICT, for a dialect by its name."""
    return (sqlite if dialect == "sqlite" else postgresql).insert(table)


def _run(connection: Connection, work: Callable[[Connection], T]) -> T:
    with connection.begin():
        return work(connection)


def _prepare_sqlite(engine: Engine) -> None:
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
            f"busy_timeout={SQLITE_BUSY_SECONDS * 1000}",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        mode = connection.get_execution_options().get("begin", "DEFERRED")
        connection.exec_driver_sql(f"BEGIN {mode}")


def _prepare_postgres(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def connect(connection: Any, record: Any) -> None:
        # As statements, not as connection options: connection poolers refuse those.
        with connection.cursor() as cursor:
            cursor.execute(f"SET statement_timeout = '{STATEMENT_SECONDS}s'")
            cursor.execute("SET timezone = 'UTC'")
            # All of ours is found by an index, and what is asked for often is in memory: the
            # default is for disks that have to turn, and reads the whole table instead.
            cursor.execute("SET random_page_cost = 1.1")
        connection.commit()
