"""Add boards and seasons: the one board becomes `main`, in its first season."""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

MOMENT = sa.DateTime(timezone=True)
USER_ID = sa.String(36)
BOARD_ID = sa.String(32)
BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
IN_RANGE = f"{{}} BETWEEN {-(2**53)} AND {2**53}"
OLD_ORDER = ["hidden", sa.text("score DESC"), sa.text("reached_at ASC"), sa.text("user_id ASC")]
NEW_ORDER = ["board_id", "season", sa.text("rank_key DESC"), *OLD_ORDER[2:], "hidden"]
STANDING = ["user_id", "remainder", "reached_at", "achieved_at", "score_id", "hidden"]
VERSION = ["version", "stamp", "clock"]


def upgrade() -> None:
    _create_boards()
    for name in ("score_identity", "scores_by_version", "scores_of_user"):
        op.drop_index(name, "scores")
    op.add_column("scores", _main())
    op.add_column("scores", _first_season())
    op.add_column("scores", sa.Column("derived", sa.Text()))
    identity = ["user_id", "submitted_by", "identity", "board_id"]
    op.create_index("score_identity", "scores", identity, unique=True)
    op.create_index("scores_by_version", "scores", ["board_id", "version"])
    op.create_index("scores_of_user", "scores", ["user_id", "board_id", "score_id"])
    op.drop_index("standings_in_order", "standings")
    if op.get_context().dialect.name == "sqlite":
        _copy_standings("score", "rank_key", [_main(primary_key=True), _first_season(True)])
    else:
        op.alter_column("standings", "score", new_column_name="rank_key")
        op.add_column("standings", _main())
        op.add_column("standings", _first_season())
        op.drop_constraint("standings_pkey", "standings")
        op.create_primary_key("standings_pkey", "standings", ["user_id", "board_id", "season"])
    visible = sa.column("hidden").is_(False)
    where = {"sqlite_where": visible, "postgresql_where": visible}
    op.create_index("standings_in_order", "standings", NEW_ORDER, **where)
    if op.get_context().dialect.name == "postgresql" and _has_scores():
        # Without statistics of the new columns, the planner expects a few rows per board.
        op.execute("ANALYZE scores, standings")


def _has_scores() -> bool:
    """Whether there are scores. Analyzed while it is empty, Postgres would scan a growing table.

    The checks of foreign keys keep the plan for minutes, and read the whole table for each row.
    """
    return bool(op.get_bind().execute(sa.text("SELECT EXISTS (SELECT FROM scores)")).scalar_one())


def downgrade() -> None:
    """Keep the scores of `main`, and the standings of its current season."""
    op.drop_index("standings_in_order", "standings")
    op.execute(
        "DELETE FROM standings WHERE board_id <> 'main'"
        " OR season <> (SELECT season FROM board_versions WHERE board_id = 'main')"
    )
    op.execute(
        "UPDATE standings SET rank_key = -rank_key"
        " WHERE (SELECT \"order\" FROM boards WHERE board_id = 'main') = 'asc'"
    )
    if op.get_context().dialect.name == "sqlite":
        _copy_standings("rank_key", "score", [])
    else:
        op.drop_constraint("standings_pkey", "standings")
        op.create_primary_key("standings_pkey", "standings", ["user_id"])
        op.drop_column("standings", "season")
        op.drop_column("standings", "board_id")
        op.alter_column("standings", "rank_key", new_column_name="score")
    op.create_index("standings_in_order", "standings", OLD_ORDER)
    for name in ("score_identity", "scores_by_version", "scores_of_user"):
        op.drop_index(name, "scores")
    op.execute("DELETE FROM scores WHERE board_id <> 'main'")
    for name in ("derived", "season", "board_id"):
        op.drop_column("scores", name)
    identity = ["user_id", "submitted_by", "identity"]
    op.create_index("score_identity", "scores", identity, unique=True)
    op.create_index("scores_by_version", "scores", ["version"])
    op.create_index("scores_of_user", "scores", ["user_id", "score_id"])
    board_version = op.create_table(
        "board_version",
        sa.Column("only", sa.Boolean(), primary_key=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("stamp", sa.String(16), nullable=False, server_default=""),
        sa.Column("clock", sa.BigInteger(), nullable=False, server_default="0"),
    )
    new = sa.table("board_versions", *(sa.column(name) for name in ["board_id", *VERSION]))
    row = sa.select(sa.true(), *(new.c[name] for name in VERSION)).where(new.c.board_id == "main")
    op.execute(board_version.insert().from_select(["only", *VERSION], row))
    for table in ("board_versions", "seasons", "boards"):
        op.drop_table(table)


def _create_boards() -> None:
    """Create the tables of boards, with `main` in its first season, at its current version."""
    boards = op.create_table(
        "boards",
        sa.Column("board_id", BOARD_ID, primary_key=True),
        sa.Column("title", sa.String(64), nullable=False),
        sa.Column("source", BOARD_ID, sa.ForeignKey("boards.board_id"), index=True),
        sa.Column("policy", sa.String(8), nullable=False),
        sa.Column("order", sa.String(4), nullable=False),
        sa.Column("format", sa.String(8), nullable=False),
        sa.Column("min_score", sa.Double()),
        sa.Column("max_score", sa.Double()),
        sa.Column("submit", sa.String(8), nullable=False),
        sa.Column("public", sa.Boolean(), nullable=False),
        sa.Column("opens_at", MOMENT),
        sa.Column("closes_at", MOMENT),
        sa.Column("reset", sa.JSON(none_as_null=True)),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("next_change_at", MOMENT, index=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("archived_at", MOMENT),
    )
    seasons = op.create_table(
        "seasons",
        sa.Column("board_id", BOARD_ID, sa.ForeignKey("boards.board_id"), primary_key=True),
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("starts_at", MOMENT, nullable=False),
        sa.Column("ends_at", MOMENT),
        sa.Column("after_score_id", sa.BigInteger(), nullable=False),
    )
    versions = op.create_table(
        "board_versions",
        sa.Column("board_id", BOARD_ID, sa.ForeignKey("boards.board_id"), primary_key=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("stamp", sa.String(16), nullable=False),
        sa.Column("clock", sa.BigInteger(), nullable=False),
        sa.Column("settings_version", sa.BigInteger(), nullable=False),
        sa.Column("season", sa.Integer(), nullable=False),
    )
    # SQLite stores times without an offset, in UTC.
    is_sqlite = op.get_context().dialect.name == "sqlite"
    now = datetime.now(UTC).replace(tzinfo=None) if is_sqlite else datetime.now(UTC)
    main = {"board_id": "main", "title": "Scoreboard", "created_at": now, "state": "open"}
    rules = {"policy": "latest", "order": "desc", "format": "number", "submit": "player"}
    op.bulk_insert(boards, [{**main, **rules, "public": True}])
    scores = sa.table("scores", sa.column("score_id"), sa.column("created_at", MOMENT))
    oldest = sa.select(scores.c.created_at).order_by(scores.c.score_id).limit(1)
    starts_at = op.get_bind().execute(oldest).scalar() or now
    first = {"board_id": "main", "number": 1, "starts_at": starts_at, "after_score_id": 0}
    op.bulk_insert(seasons, [first])
    old = sa.table("board_version", *(sa.column(name) for name in VERSION))
    row = sa.select(
        sa.literal("main"), *(old.c[name] for name in VERSION), *map(sa.literal, (0, 1))
    )
    op.execute(versions.insert().from_select([c.name for c in versions.c], row))
    op.drop_table("board_version")


def _main(primary_key: bool = False) -> sa.Column:
    column = {"nullable": False, "server_default": "main"}
    return sa.Column("board_id", BOARD_ID, primary_key=primary_key, **column)


def _first_season(primary_key: bool = False) -> sa.Column:
    column = {"nullable": False, "server_default": "1", "autoincrement": False}
    return sa.Column("season", sa.Integer(), primary_key=primary_key, **column)


def _copy_standings(old_score: str, new_score: str, added: list[sa.Column]) -> None:
    """Replace the table of SQLite, which cannot alter a primary key."""
    new = op.create_table(
        "standings_new",
        sa.Column("user_id", USER_ID, sa.ForeignKey("users.user_id"), primary_key=True),
        *added,
        sa.Column(new_score, sa.Double(), nullable=False),
        sa.Column("remainder", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("reached_at", MOMENT, nullable=False),
        sa.Column("achieved_at", MOMENT, nullable=False),
        sa.Column("score_id", BIG, sa.ForeignKey("scores.score_id"), nullable=False),
        sa.Column("hidden", sa.Boolean(), nullable=False),
        sa.CheckConstraint(IN_RANGE.format(new_score), name="standing_range"),
    )
    old = sa.table("standings", *(sa.column(name) for name in [*STANDING, old_score]))
    copied = sa.select(*(old.c[name] for name in STANDING), old.c[old_score])
    op.execute(new.insert().from_select([*STANDING, new_score], copied))
    op.drop_table("standings")
    op.rename_table("standings_new", "standings")
