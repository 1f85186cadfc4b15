"""Add a clock to the board, which never goes back even if a machine's clock does."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

# Start after the latest recorded time, which may be ahead of the clock of this machine.
START = {
    "sqlite": "UPDATE board_version SET clock = coalesce("
    "(SELECT (strftime('%s', max(created_at)) + 1) * 1000000 FROM scores), 0)",
    "postgresql": "UPDATE board_version SET clock = coalesce("
    "(SELECT ceil(extract(epoch FROM max(created_at)) * 1000000) FROM scores), 0)",
}


def upgrade() -> None:
    op.add_column(
        "board_version", sa.Column("clock", sa.BigInteger(), nullable=False, server_default="0")
    )
    op.execute(START[op.get_context().dialect.name])


def downgrade() -> None:
    op.drop_column("board_version", "clock")
