"""Run the migrations on the application's database: `flask db upgrade`."""

from alembic import context
from flask import current_app

from scoreboard.extensions import db

with db.engine.connect() as connection:
    # With the write lock before the first look: of several processes that start on one SQLite
    # file one brings it up to date, and the rest find it so.
    connection.execution_options(begin="IMMEDIATE")
    context.configure(
        connection=connection,
        target_metadata=db.metadata,
        # SQLite can undo DDL like anything else, once BEGIN is said as database.py does.
        transactional_ddl=True,
        **current_app.extensions["migrate"].configure_args,
    )
    with context.begin_transaction():
        if connection.dialect.name == "postgresql":
            # An index of a long history takes longer than a statement of a request may.
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        context.run_migrations()
