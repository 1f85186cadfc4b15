"""Test databases: created once by the migrations, then emptied or copied."""

import atexit
import functools
import os
import shutil
import tempfile
import uuid
from pathlib import Path

import psycopg
from flask_migrate import upgrade

from config import Config
from scoreboard import create_app
from scoreboard.extensions import Base, db
from tests.support.backing_services import PostgresServer
from tests.support.servers import SECRETS

POSTGRES_URL = os.environ.get("TEST_POSTGRES_URL", "postgresql://root@127.0.0.1:5432/test")

# The migrations write the rows of `main` into these. In the order of their references.
BOARD_TABLES = ("boards", "seasons", "board_versions")


@functools.cache
def _server() -> str:
    """Return TEST_POSTGRES_URL if that server responds, else the URL of a new server."""
    try:
        psycopg.connect(POSTGRES_URL, connect_timeout=5).close()
    except psycopg.OperationalError:
        folder = Path(tempfile.mkdtemp())
        server = PostgresServer(folder)
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        atexit.register(server.stop)
        return server.url
    return POSTGRES_URL


@functools.cache
def _sqlite_template() -> Path:
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    migrated(f"sqlite:///{folder}/scoreboard.db")
    return folder / "scoreboard.db"


def copied_sqlite(folder: Path) -> str:
    shutil.copy(_sqlite_template(), folder / "scoreboard.db")
    return f"sqlite:///{folder}/scoreboard.db"


def new_postgres(template: str = "template1") -> str:
    """Create a copy of the template, dropped when the tests end. `template1` is empty."""
    name = f"scoreboard_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(_server(), autocommit=True, connect_timeout=5) as server:
        server.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    atexit.register(_drop, name)
    return _server().rpartition("/")[0] + f"/{name}"


@functools.cache
def _postgres_template() -> str:
    return migrated(new_postgres()).rpartition("/")[2]


def new_database() -> str:
    """Create a PostgreSQL database with tables, dropped when the tests end."""
    return new_postgres(_postgres_template())


def _drop(name: str) -> None:
    with psycopg.connect(_server(), autocommit=True) as server:
        server.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@functools.cache
def _postgres() -> str:
    url = migrated(new_postgres())
    with psycopg.connect(url) as server:
        server.execute("CREATE SCHEMA initial")
        for table in BOARD_TABLES:
            server.execute(f"CREATE TABLE initial.{table} AS TABLE {table}")
    return url


def emptied_postgres() -> str:
    url = _postgres()
    tables = [table for table in Base.metadata.tables if table not in BOARD_TABLES]
    with psycopg.connect(url, autocommit=True) as server:
        # Truncating takes milliseconds even for an empty table.
        used = server.execute(
            "SELECT relname FROM pg_class WHERE relname = ANY(%s) AND pg_relation_size(oid) > 0",
            [tables],
        ).fetchall()
        if used:
            names = ", ".join(name for (name,) in used)
            server.execute(f"TRUNCATE {names} RESTART IDENTITY CASCADE")
        with server.transaction():
            for table in reversed(BOARD_TABLES):
                server.execute(f"DELETE FROM {table}")
            for table in BOARD_TABLES:
                server.execute(f"INSERT INTO {table} TABLE initial.{table}")
    return url


def migrated(url: str) -> str:
    """Upgrade the database to the current schema and return its URL."""
    app = create_app(Config.from_environment({**SECRETS, "DATABASE_URL": url}))
    with app.app_context():
        upgrade()
        db.engine.dispose()
    return url
