"""The tables: users, the history of their scores, where they stand, and dead tokens."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ColumnElement,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    String,
    TypeDecorator,
    text,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.orm import Mapped, mapped_column

from .extensions import Base
from .permissions import ROLES

# Number.MAX_SAFE_INTEGER in ECMA-262: beyond it JavaScript and doubles skip whole numbers.
MAX_SCORE = 2**53 - 1
# What is shown of a total that is larger than MAX_SCORE by a fraction.
MAX_TOTAL = 2**53


class _Written(sqlite.DATETIME):
    """SQLAlchemy's type for SQLite, which takes three times as long to write the same text."""

    def bind_processor(self, dialect: Dialect) -> Any:
        """Return what makes text of a moment without offset."""
        return lambda value: value and value.isoformat(" ", "microseconds")


class UtcDateTime(TypeDecorator[datetime]):
    """A moment, always aware and in UTC, to the microsecond, on SQLite and Postgres alike."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        """Return the type of this database."""
        if dialect.name == "sqlite":
            return _Written()  # type: ignore[no-untyped-call]
        return self.impl_instance

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Return the moment as the database stores it. Raises ValueError for a naive one."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a moment needs an offset")
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the moment that was stored, in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _within_range(column: str, largest: int) -> str:
    return f"{column} BETWEEN {-largest} AND {largest}"


class User(Base):
    """Somebody with a name, an address and a role.

    `name_key` and `email` are folded, so that names differing only in case are one. Without
    `password_hash` there is no signing in with a password (seeded players, game servers).
    A user with `suspended_at` is refused everywhere from that moment on; one with `hidden_at` is
    not on the board.
    """

    __tablename__ = "users"
    __table_args__ = (
        CheckConstraint(
            "role IN ({})".format(", ".join(f"'{role}'" for role in ROLES)), name="role"
        ),
    )

    user_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    username: Mapped[str] = mapped_column(String(64))
    name_key: Mapped[str] = mapped_column(String(256), unique=True)
    email: Mapped[str] = mapped_column(String(254), unique=True)
    password_hash: Mapped[str | None] = mapped_column(String(255))
    role: Mapped[str] = mapped_column(String(16))
    suspended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    hidden_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


_VOIDED = text("voided_at IS NOT NULL")


class Score(Base):
    """One accepted update, kept as history.

    `identity` is what tells a repeat from a new request of the same submitter: the nonce or,
    without one, timestamp and value as they were sent. `created_at` is the server's time, and
    `achieved_at` the request's timestamp or, if that was ahead of the server's clock, the moment
    of its arrival; then `sent_timestamp` is the timestamp as it was sent. `score` and `applied` are
    what the update led to: with them a repeat can be shown its receipt. `version`
    is the board's version made by its transaction; None if it was not announced (seeded players).
    A voided score counts no more, and says by whom and why.
    """

    __tablename__ = "scores"
    __table_args__ = (
        # An index, not a constraint: SQLite can replace it without copying the table.
        Index("score_identity", "user_id", "submitted_by", "identity", unique=True),
        CheckConstraint(_within_range("score_value", MAX_SCORE), name="score_value_range"),
        Index("scores_by_version", "version"),
        Index("scores_of_user", "user_id", "score_id"),
        Index("scores_voided", "user_id", sqlite_where=_VOIDED, postgresql_where=_VOIDED),
    )

    score_id: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    )
    user_id: Mapped[str] = mapped_column(ForeignKey("users.user_id"))
    score_value: Mapped[float] = mapped_column(Double)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    achieved_at: Mapped[datetime] = mapped_column(UtcDateTime)
    identity: Mapped[str] = mapped_column(String(80))
    submitted_by: Mapped[str] = mapped_column(ForeignKey("users.user_id"))
    sent_timestamp: Mapped[datetime | None] = mapped_column(UtcDateTime)
    score: Mapped[float] = mapped_column(Double)
    applied: Mapped[bool]
    version: Mapped[int | None] = mapped_column(BigInteger)
    voided_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    voided_by: Mapped[str | None] = mapped_column(ForeignKey("users.user_id"))
    void_reason: Mapped[str | None] = mapped_column(String(200))


class Standing(Base):
    """Where a user stands now: one row a user, written in the same transaction as the score.

    `remainder` is what the exact total has beyond `score`, in billionths: 0 wherever the shortest
    decimal of `score` is exact.
    `reached_at` is the server's time at which `score` became what it is, `achieved_at` the
    timestamp of the update that set it, `score_id` that update. A hidden user keeps a standing
    and is not on the board.
    """

    __tablename__ = "standings"
    __table_args__ = (CheckConstraint(_within_range("score", MAX_TOTAL), name="standing_range"),)

    user_id: Mapped[str] = mapped_column(ForeignKey("users.user_id"), primary_key=True)
    score: Mapped[float] = mapped_column(Double)
    remainder: Mapped[int] = mapped_column(server_default="0")
    reached_at: Mapped[datetime] = mapped_column(UtcDateTime)
    achieved_at: Mapped[datetime] = mapped_column(UtcDateTime)
    score_id: Mapped[int] = mapped_column(ForeignKey("scores.score_id"))
    hidden: Mapped[bool] = mapped_column(default=False)


class BoardVersion(Base):
    """One row that every transaction which may change the board adds one to.

    Whoever adds holds the row until the commit, so versions follow the commits without a gap:
    the one order of all updates, in whichever process they were made. `stamp` is random, made anew
    with each: it tells this version from the same one of another board, a restored one, say.
    `clock` is the latest server time given to an update, in microseconds since the epoch: it never
    goes back, as the clocks of machines do.
    """

    __tablename__ = "board_version"

    only: Mapped[bool] = mapped_column(primary_key=True, default=True)
    version: Mapped[int] = mapped_column(BigInteger)
    stamp: Mapped[str] = mapped_column(String(16))
    clock: Mapped[int] = mapped_column(BigInteger)


class RevokedToken(Base):
    """Tokens that are no longer accepted: one by its `jti`, a sign-in by its family.

    All of a user's are named by `user:` and the id: those issued until `revoked_at`. At
    `expires_at` its tokens are dead of themselves; a row is kept for a day longer.
    """

    __tablename__ = "revoked_tokens"

    token_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    revoked_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)


class Mark(Base):
    """Something unusual that a user did: at most one mark per user, rule and hour."""

    __tablename__ = "marks"

    user_id: Mapped[str] = mapped_column(ForeignKey("users.user_id"), primary_key=True)
    rule: Mapped[str] = mapped_column(String(32), primary_key=True)
    hour: Mapped[datetime] = mapped_column(UtcDateTime, primary_key=True)
    detail: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)


def standing_order() -> tuple[ColumnElement[Any], ...]:
    """Highest score first; of equal scores, whoever reached it first; then by user id."""
    return Standing.score.desc(), Standing.reached_at.asc(), Standing.user_id.asc()


# Holds everything the board shows, so that reading it never touches the table.
Index("standings_in_order", Standing.hidden, *standing_order())
