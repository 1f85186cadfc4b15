"""Add webhooks, and the outbox of their deliveries."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

MOMENT = sa.DateTime(timezone=True)
DELIVERY_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
PENDING = sa.text("next_attempt_at IS NOT NULL")


def upgrade() -> None:
    op.create_table(
        "webhooks",
        sa.Column("webhook_id", sa.Integer(), primary_key=True),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("format", sa.String(8), nullable=False),
        sa.Column("events", sa.JSON(), nullable=False),
        sa.Column("boards", sa.JSON(none_as_null=True)),
        sa.Column("secret", sa.String(64), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("disabled_at", MOMENT),
    )
    op.create_table(
        "webhook_deliveries",
        sa.Column("delivery_id", DELIVERY_ID, primary_key=True, autoincrement=True),
        sa.Column("webhook_id", sa.Integer(), sa.ForeignKey("webhooks.webhook_id"), nullable=False),
        sa.Column("event_id", sa.String(40), nullable=False),
        sa.Column("event", sa.String(16), nullable=False),
        sa.Column("board_id", sa.String(32), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", MOMENT),
        sa.Column("delivered_at", MOMENT),
        sa.Column("last_status", sa.Integer()),
        sa.Column("last_error", sa.String(200)),
    )
    _index("newest", "webhook_id", "delivery_id")
    pending = {"sqlite_where": PENDING, "postgresql_where": PENDING}
    _index("in_order", "webhook_id", "board_id", "delivery_id", **pending)
    _index("due", "webhook_id", "next_attempt_at", **pending)


def downgrade() -> None:
    op.drop_table("webhook_deliveries")
    op.drop_table("webhooks")


def _index(name: str, *columns: str, **where: sa.TextClause) -> None:
    op.create_index(f"webhook_deliveries_{name}", "webhook_deliveries", list(columns), **where)
