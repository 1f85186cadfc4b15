"""Run the migrations on the application's database, for `flask db upgrade`."""

from alembic import context
from flask import current_app

from scoreboard.extensions import db

BEGIN = {
    # IMMEDIATE takes the write lock before the first read: if several processes start on one
    # SQLite file, one migrates it and the others find it migrated.
    "sqlite": "BEGIN IMMEDIATE",
    # Creating an index on a long history takes longer than the statement timeout of requests.
    "postgresql": "BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0"
    "; SET LOCAL idle_in_transaction_session_timeout = 0"
    "; SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO'",
}

with db.engine.connect() as connection:
    if connection.dialect.name == "sqlite":
        # Detach the connection, so that it does not return to the pool with these settings.
        connection.detach()
        # Other processes that start at the same time wait until the migration ends.
        connection.connection.execute("PRAGMA busy_timeout = 600000")
        # Otherwise dropping a table deletes row by row and searches the child rows of each.
        connection.connection.execute("PRAGMA foreign_keys = OFF")
    connection.execution_options(begin=BEGIN[connection.dialect.name])
    context.configure(
        connection=connection,
        target_metadata=db.metadata,
        # SQLite can roll back DDL if BEGIN is explicit, as in scoreboard/db/engine.py.
        transactional_ddl=True,
        **current_app.extensions["migrate"].configure_args,
    )
    with context.begin_transaction():
        context.run_migrations()
