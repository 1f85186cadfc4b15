"""Remove invisible characters and repeated spaces from the keys of names.

Two different names may now have the same key. The account that already has the key keeps it,
otherwise the oldest account with that name gets it. Every other account gets the key with a tilde
and the start of its user_id, such as `ann~1a2b3c4d`, and its user signs in with that as the name.
Each such change is logged. Displayed names do not change.
"""

import logging
import unicodedata

import sqlalchemy as sa
from alembic import op

from scoreboard.auth.names import MAX_NAME_LENGTH, name_key

revision = "0005"
down_revision = "0004"

log = logging.getLogger("scoreboard.migrations")

users = sa.table(
    "users",
    sa.column("user_id", sa.String),
    sa.column("username", sa.String),
    sa.column("name_key", sa.String),
    sa.column("created_at"),
)


def upgrade() -> None:
    connection = op.get_bind()
    everyone = sa.select(users.c.user_id, users.c.username)
    rows = connection.execute(everyone.order_by(users.c.created_at, users.c.user_id))
    changed = [row for row in rows if name_key(row.username) != _former_key(row.username)]
    for user_id, username in changed:
        key = name_key(username)
        if not key or _is_taken(connection, key, user_id):
            key = _distinct(connection, key, user_id)
            log.warning("user %s now signs in as %s: another user has this name", user_id, key)
        statement = sa.update(users).where(users.c.user_id == user_id).values(name_key=key)
        connection.execute(statement)


def _former_key(username: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", username).casefold())


def _distinct(connection: sa.Connection, key: str, user_id: str) -> str:
    """Return an unused key that is also a valid name to sign in with."""
    for size in (8, len(user_id)):
        mark = f"~{user_id[:size]}"
        distinct = key[: MAX_NAME_LENGTH - len(mark)] + mark
        if not _is_taken(connection, distinct, user_id):
            break
    return distinct


def _is_taken(connection: sa.Connection, key: str, user_id: str) -> bool:
    """Whether a user other than this one has the key."""
    others = sa.select(users.c.user_id).where(users.c.user_id != user_id)
    return connection.execute(others.where(users.c.name_key == key)).first() is not None


def downgrade() -> None:
    """Keep the new keys: with the older version, users sign in with the plain form of a name."""
