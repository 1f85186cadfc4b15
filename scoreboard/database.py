"""How work reaches the database: short reads, and writes in one transaction off the loop."""

from collections.abc import Callable
from typing import Any, TypeVar

from flask import Flask
from sqlalchemy import Connection, Engine, event

from .extensions import Base, db
from .realtime.transport import off_loop

T = TypeVar("T")

# How long a writer waits for another process's transaction before it is an error, in seconds.
SQLITE_BUSY_SECONDS = 10


def init_app(app: Flask) -> None:
    """Set the engine up and, on the embedded default, create the tables that are missing."""
    with app.app_context():
        if db.engine.dialect.name == "sqlite":
            _prepare_sqlite(db.engine)
            Base.metadata.create_all(db.engine)


def read(work: Callable[[Connection], T]) -> T:
    """Return what `work` reads.

    The connection goes back to the pool at once: one that was kept while waiting for a turn to
    write would, with many waiting, leave none for the writer.
    """
    with db.engine.connect() as connection:
        return work(connection)


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
            return off_loop(_run, connection, work)
        return _run(connection, work)


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
