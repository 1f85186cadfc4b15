"""Allow users without an email address, erased users, and links that set a password."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

MOMENT = sa.DateTime(timezone=True)
USER_ID = sa.String(36)
# The columns that become nullable: a guest has no address, an erased user no name either.
NULLABLE = {"username": sa.String(64), "name_key": sa.String(256), "email": sa.String(254)}
USERS = (
    *("user_id", "username", "name_key", "email", "password_hash", "role"),
    *("suspended_at", "hidden_at", "created_at"),
)


def upgrade() -> None:
    _set_nullable(True)
    op.add_column("revoked_tokens", sa.Column("kept", sa.String(64)))
    op.create_table(
        "reset_links",
        sa.Column("user_id", USER_ID, sa.ForeignKey("users.user_id"), primary_key=True),
        sa.Column("token_hash", sa.String(64), nullable=False, unique=True),
        sa.Column("expires_at", MOMENT, nullable=False),
    )


def downgrade() -> None:
    """Give users without a name or an address values that nobody can sign in with."""
    op.drop_table("reset_links")
    op.drop_column("revoked_tokens", "kept")
    op.execute("UPDATE users SET email = user_id || '@guest.invalid' WHERE email IS NULL")
    op.execute(
        "UPDATE users SET username = 'erased', name_key = ' ' || user_id,"
        " suspended_at = created_at WHERE username IS NULL"
    )
    _set_nullable(False)


def _set_nullable(nullable: bool) -> None:
    if op.get_context().dialect.name != "sqlite":
        for name in NULLABLE:
            op.alter_column("users", name, nullable=nullable)
        return
    # SQLite cannot alter a column: replace the table.
    new = op.create_table(
        "users_new",
        sa.Column("user_id", USER_ID, primary_key=True),
        sa.Column("username", NULLABLE["username"], nullable=nullable),
        sa.Column("name_key", NULLABLE["name_key"], nullable=nullable, unique=True),
        sa.Column("email", NULLABLE["email"], nullable=nullable, unique=True),
        sa.Column("password_hash", sa.String(255)),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("suspended_at", MOMENT),
        sa.Column("hidden_at", MOMENT),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.CheckConstraint("role IN ('viewer', 'player', 'scorer', 'admin')", name="role"),
    )
    old = sa.table("users", *map(sa.column, USERS))
    copied = sa.select(*(old.c[name] for name in USERS)).order_by(old.c.user_id)
    op.execute(new.insert().from_select(list(USERS), copied))
    op.drop_table("users")
    op.rename_table("users_new", "users")
