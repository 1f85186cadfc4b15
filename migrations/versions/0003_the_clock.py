"""A clock of the board's own, which no machine's clock sets back."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

# The moment after the latest so far: that may be ahead of the clock of whoever goes on from here.
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
