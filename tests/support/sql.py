"""Query the database of a server without its code."""

import contextlib
import sqlite3

import psycopg


def query(database, statement):
    """Return the rows of a statement; `database` is a URL."""
    if database.startswith("sqlite"):
        path = database.removeprefix("sqlite:///")
        with contextlib.closing(sqlite3.connect(path, timeout=30)) as connection:
            return connection.execute(statement).fetchall()
    with psycopg.connect(database) as connection:
        return connection.execute(statement).fetchall()
