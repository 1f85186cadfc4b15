"""Add a stamp to the board's version, and an index for a user's newest scores."""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column(
        "board_version", sa.Column("stamp", sa.String(16), nullable=False, server_default="")
    )
    stamp = sa.bindparam("stamp", secrets.token_hex(8))
    op.execute(sa.text("UPDATE board_version SET stamp = :stamp").bindparams(stamp))
    op.create_index("scores_of_user", "scores", ["user_id", "score_id"])


def downgrade() -> None:
    op.drop_index("scores_of_user", "scores")
    op.drop_column("board_version", "stamp")
