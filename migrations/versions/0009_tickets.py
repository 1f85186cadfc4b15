"""Add run tickets: the setting of a board, and the tickets that are used."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("boards", sa.Column("tickets", sa.Integer()))
    op.create_table(
        "used_tickets",
        sa.Column("ticket_id", sa.String(32), primary_key=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False, index=True),
    )


def downgrade() -> None:
    op.drop_table("used_tickets")
    op.drop_column("boards", "tickets")
