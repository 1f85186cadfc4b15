"""Access the database of a server without its code."""

import contextlib
import sqlite3

import psycopg


def query(url, statement):
    """Run a statement in the database at this URL; return its rows."""
    if url.startswith("sqlite"):
        path = url.removeprefix("sqlite:///")
        with contextlib.closing(sqlite3.connect(path, timeout=30)) as connection, connection:
            return connection.execute(statement).fetchall()
    with psycopg.connect(url) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []
