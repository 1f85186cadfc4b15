"""Add exact totals and the timestamps as sent; make identities unique per submitter."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

MOMENT = sa.DateTime(timezone=True)
USER_ID = sa.String(36)
BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
VOIDED = sa.text("voided_at IS NOT NULL")
LARGEST = 2**53 - 1
ORDER = ["hidden", sa.text("score DESC"), sa.text("reached_at ASC"), sa.text("user_id ASC")]


def upgrade() -> None:
    if op.get_context().dialect.name == "sqlite":
        _copy("scores", _scores(sa.Column("sent_timestamp", MOMENT)))
        _copy("standings", _standings(LARGEST + 1, _remainder()))
    else:
        op.add_column("scores", sa.Column("sent_timestamp", MOMENT))
        op.drop_constraint("score_identity", "scores")
        op.add_column("standings", _remainder())
        op.drop_constraint("standing_range", "standings")
        op.create_check_constraint("standing_range", "standings", _within("score", LARGEST + 1))
    identity = ["user_id", "submitted_by", "identity"]
    op.create_index("score_identity", "scores", identity, unique=True)
    op.create_index(
        "scores_voided", "scores", ["user_id"], sqlite_where=VOIDED, postgresql_where=VOIDED
    )


def downgrade() -> None:
    op.drop_index("scores_voided", "scores")
    op.drop_index("score_identity", "scores")
    # The older schema allows neither one identity by two submitters nor 2**53.
    op.execute(
        "UPDATE scores SET identity = identity || '/' || score_id WHERE EXISTS ("
        "SELECT * FROM scores AS earlier WHERE earlier.user_id = scores.user_id"
        " AND earlier.identity = scores.identity AND earlier.score_id < scores.score_id)"
    )
    standings = sa.table("standings", sa.column("score", sa.Double()))
    for sign in (1, -1):
        beyond = standings.update().where(standings.c.score == float(sign * (LARGEST + 1)))
        op.execute(beyond.values(score=float(sign * LARGEST)))
    if op.get_context().dialect.name == "sqlite":
        _copy("scores", _scores(sa.UniqueConstraint("user_id", "identity", name="score_identity")))
        _copy("standings", _standings(LARGEST))
    else:
        op.drop_column("scores", "sent_timestamp")
        op.create_unique_constraint("score_identity", "scores", ["user_id", "identity"])
        op.drop_column("standings", "remainder")
        op.drop_constraint("standing_range", "standings")
        op.create_check_constraint("standing_range", "standings", _within("score", LARGEST))


def _within(column: str, largest: int) -> str:
    return f"{column} BETWEEN {-largest} AND {largest}"


def _remainder() -> sa.Column:
    return sa.Column("remainder", sa.Integer(), nullable=False, server_default="0")


def _scores(*more: sa.schema.SchemaItem) -> list[sa.schema.SchemaItem]:
    return [
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
        sa.CheckConstraint(_within("score_value", LARGEST), name="score_value_range"),
        *more,
    ]


def _standings(largest: int, *more: sa.schema.SchemaItem) -> list[sa.schema.SchemaItem]:
    return [
        sa.Column("user_id", USER_ID, sa.ForeignKey("users.user_id"), primary_key=True),
        sa.Column("score", sa.Double(), nullable=False),
        sa.Column("reached_at", MOMENT, nullable=False),
        sa.Column("achieved_at", MOMENT, nullable=False),
        sa.Column("score_id", BIG, sa.ForeignKey("scores.score_id"), nullable=False),
        sa.Column("hidden", sa.Boolean(), nullable=False),
        sa.CheckConstraint(_within("score", largest), name="standing_range"),
        *more,
    ]


def _copy(name: str, items: list[sa.schema.SchemaItem]) -> None:
    """Replace a SQLite table by one with these items: SQLite cannot alter constraints.

    env.py has disabled foreign keys; otherwise dropping a table searches the child rows.
    """
    columns = (each["name"] for each in sa.inspect(op.get_bind()).get_columns(name))
    new = op.create_table(f"{name}_new", *items)
    kept = [each for each in columns if each in new.c]
    old = sa.table(name, *(sa.column(each) for each in kept))
    op.execute(new.insert().from_select(kept, sa.select(old)))
    op.drop_table(name)
    op.rename_table(f"{name}_new", name)
    if name == "scores":
        op.create_index("scores_by_version", "scores", ["version"])
        op.create_index("scores_of_user", "scores", ["user_id", "score_id"])
    else:
        op.create_index("standings_in_order", "standings", ORDER)
