"""A clock of the board's own, which no machine's clock sets back."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

# The moment after the latest so far: that may be ahead of the clock of whoever goes on from here.
LATEST = {
    "sqlite": "(strftime('%s', max(created_at)) + 1) * 1000000",
    "postgresql": "ceil(extract(epoch FROM max(created_at)) * 1000000)",
}


def upgrade() -> None:
    op.add_column(
        "board_version", sa.Column("clock", sa.BigInteger(), nullable=False, server_default="0")
    )
    latest = LATEST[op.get_context().dialect.name]
    op.execute(
        f"UPDATE board_version SET clock = coalesce((SELECT {latest} FROM scores), 0)"  # noqa: S608
    )


def downgrade() -> None:
    op.drop_column("board_version", "clock")
