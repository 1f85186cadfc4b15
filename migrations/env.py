"""Run the migrations on the application's database: `flask db upgrade`."""

from alembic import context
from flask import current_app

from scoreboard.extensions import db

BEGIN = {
    # With the write lock before the first look: of several processes that start on one SQLite
    # file one brings it up to date, and the others find it so.
    "sqlite": "BEGIN IMMEDIATE",
    # An index of a long history takes longer than a statement of a request may.
    "postgresql": "BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0"
    "; SET LOCAL idle_in_transaction_session_timeout = 0"
    "; SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO'",
}

with db.engine.connect() as connection:
    if connection.dialect.name == "sqlite":
        # Detached, this connection does not go back to the pool with these settings.
        connection.detach()
        # Others that start at the same time wait for as long as this takes.
        connection.connection.execute("PRAGMA busy_timeout = 600000")
        # Otherwise dropping a table deletes its rows one by one and looks for the children of each.
        connection.connection.execute("PRAGMA foreign_keys = OFF")
    connection.execution_options(begin=BEGIN[connection.dialect.name])
    context.configure(
        connection=connection,
        target_metadata=db.metadata,
        # SQLite can undo DDL like anything else, once BEGIN is issued as engines.py does.
        transactional_ddl=True,
        **current_app.extensions["migrate"].configure_args,
    )
    with context.begin_transaction():
        context.run_migrations()
