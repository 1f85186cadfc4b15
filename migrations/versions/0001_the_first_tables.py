"""Create the first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

MOMENT = sa.DateTime(timezone=True)
USER_ID = sa.String(36)
BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
IN_RANGE = "{} BETWEEN -9007199254740991 AND 9007199254740991"


def upgrade() -> None:
    _create_users()
    _create_scores()
    board_version = op.create_table(
        "board_version",
        sa.Column("only", sa.Boolean(), primary_key=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
    )
    op.bulk_insert(board_version, [{"only": True, "version": 0}])
    op.create_table(
        "marks",
        sa.Column("user_id", USER_ID, sa.ForeignKey("users.user_id"), primary_key=True),
        sa.Column("rule", sa.String(32), primary_key=True),
        sa.Column("hour", MOMENT, primary_key=True),
        sa.Column("detail", sa.String(200), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False, index=True),
    )


def _create_users() -> None:
    op.create_table(
        "users",
        sa.Column("user_id", USER_ID, primary_key=True),
        sa.Column("username", sa.String(64), nullable=False),
        sa.Column("name_key", sa.String(256), nullable=False, unique=True),
        sa.Column("email", sa.String(254), nullable=False, unique=True),
        sa.Column("password_hash", sa.String(255)),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("suspended_at", MOMENT),
        sa.Column("hidden_at", MOMENT),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.CheckConstraint("role IN ('viewer', 'player', 'scorer', 'admin')", name="role"),
    )
    op.create_table(
        "revoked_tokens",
        sa.Column("token_id", sa.String(64), primary_key=True),
        sa.Column("revoked_at", MOMENT, nullable=False, index=True),
        sa.Column("expires_at", MOMENT, nullable=False, index=True),
    )


def _create_scores() -> None:
    op.create_table(
        "scores",
        sa.Column("score_id", BIG, primary_key=True, autoincrement=True),
        sa.Column("user_id", USER_ID, sa.ForeignKey("users.user_id"), nullable=False),
        sa.Column("score_value", sa.Double(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("achieved_at", MOMENT, nullable=False),
        sa.Column("identity", sa.String(80), nullable=False),
        sa.Column("submitted_by", USER_ID, sa.ForeignKey("users.user_id"), nullable=False),
        sa.Column("score", sa.Double(), nullable=False),
        sa.Column("applied", sa.Boolean(), nullable=False),
        sa.Column("version", sa.BigInteger()),
        sa.Column("voided_at", MOMENT),
        sa.Column("voided_by", USER_ID, sa.ForeignKey("users.user_id")),
        sa.Column("void_reason", sa.String(200)),
        sa.CheckConstraint(IN_RANGE.format("score_value"), name="score_value_range"),
        sa.UniqueConstraint("user_id", "identity", name="score_identity"),
    )
    op.create_index("scores_by_version", "scores", ["version"])
    op.create_table(
        "standings",
        sa.Column("user_id", USER_ID, sa.ForeignKey("users.user_id"), primary_key=True),
        sa.Column("score", sa.Double(), nullable=False),
        sa.Column("reached_at", MOMENT, nullable=False),
        sa.Column("achieved_at", MOMENT, nullable=False),
        sa.Column("score_id", BIG, sa.ForeignKey("scores.score_id"), nullable=False),
        sa.Column("hidden", sa.Boolean(), nullable=False),
        sa.CheckConstraint(IN_RANGE.format("score"), name="standing_range"),
    )
    order = ["hidden", sa.text("score DESC"), sa.text("reached_at ASC"), sa.text("user_id ASC")]
    op.create_index("standings_in_order", "standings", order)


def downgrade() -> None:
    for table in ("marks", "board_version", "standings", "scores", "revoked_tokens", "users"):
        op.drop_table(table)
