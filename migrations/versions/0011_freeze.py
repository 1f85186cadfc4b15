"""Add freezes: what a frozen board shows, and the stamp of what everybody may see."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.add_column("boards", sa.Column("freezes_at", sa.DateTime(timezone=True)))
    op.add_column("boards", sa.Column("frozen", sa.JSON(none_as_null=True)))
    shown = sa.Column("shown", sa.String(16), nullable=False, server_default="")
    op.add_column("board_versions", shown)


def downgrade() -> None:
    # The images of frozen seasons.
    op.execute("DELETE FROM standings WHERE season < 0")
    op.drop_column("board_versions", "shown")
    op.drop_column("boards", "frozen")
    op.drop_column("boards", "freezes_at")
