"""Run the migrations on the application's database: `flask db upgrade`."""

from alembic import context
from flask import current_app

from scoreboard.extensions import db

with db.engine.connect() as connection:
    context.configure(
        connection=connection,
        target_metadata=db.metadata,
        **current_app.extensions["migrate"].configure_args,
    )
    with context.begin_transaction():
        context.run_migrations()
