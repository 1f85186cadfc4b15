"""Database tables: users, scores, standings, the board version, revoked tokens and flags."""

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

# Number.MAX_SAFE_INTEGER in ECMA-262: beyond it JavaScript and doubles skip integers.
MAX_SCORE = 2**53 - 1
# Shown for a total that exceeds MAX_SCORE by a fraction.
MAX_TOTAL = 2**53


class _SqliteDateTime(sqlite.DATETIME):
    """SQLAlchemy's type for SQLite, but three times as fast in writing the same text."""

    def bind_processor(self, dialect: Dialect) -> Any:
        """Return the function that formats a naive datetime as text."""
        return lambda value: value and value.isoformat(" ", "microseconds")


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime in UTC, to the microsecond, on both SQLite and Postgres."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        """Return the column type for this database."""
        if dialect.name == "sqlite":
            return _SqliteDateTime()  # type: ignore[no-untyped-call]
        return self.impl_instance

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Return the datetime as the database stores it. Raises ValueError for a naive one."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a moment needs an offset")
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the stored datetime, aware and in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _within_range(column: str, largest: int) -> str:
    return f"{column} BETWEEN {-largest} AND {largest}"


class User(Base):
    """A user with a name, an email address and a role.

    `name_key` and `email` are case-folded, so names that differ only in case are equal. A user
    without `password_hash` cannot sign in with a password (seeded players, game servers). One with
    `suspended_at` is refused everywhere from that moment on; one with `hidden_at` is not on the
    board.
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

    `identity` distinguishes a replay from a new request of the same submitter: the nonce or,
    without one, timestamp and value as sent. `created_at` is the server time. `achieved_at` is the
    request's timestamp or, if that was ahead of the server's clock, the time of arrival; in that
    case `sent_timestamp` is the timestamp as sent. `score` is the user's score after this update;
    `applied` is False if the update only entered the history. `version` is the board version
    created by its transaction, None if it was not published (seeded players). A voided score does
    not count; `voided_by` and `void_reason` record who voided it and why.
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
    """A user's current score: one row per user, written in the same transaction as the update.

    `remainder` is the exact total minus `score`, in billionths: 0 wherever the shortest decimal of
    `score` is exact. `reached_at` is the server time at which `score` got its current value,
    `achieved_at` the timestamp of the update that set it, `score_id` the id of that update. A
    hidden user keeps a standing but is not on the board.
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
    """The board's version: one row, incremented by every transaction that may change the board.

    The transaction locks the row until it commits, so versions follow the commits without a gap:
    one order of all updates, across processes. `stamp` is random and changes with each version: it
    distinguishes equal version numbers of different boards, such as a restored one. `clock` is the
    latest server time given to an update, in microseconds since the epoch; unlike the clock of a
    machine it never goes back.
    """

    __tablename__ = "board_version"

    only: Mapped[bool] = mapped_column(primary_key=True, default=True)
    version: Mapped[int] = mapped_column(BigInteger)
    stamp: Mapped[str] = mapped_column(String(16))
    clock: Mapped[int] = mapped_column(BigInteger)


class RevokedToken(Base):
    """A revoked token by its `jti`, a revoked sign-in by its family, or all tokens of a user.

    In the latter case `token_id` is `user:` and the id, for tokens issued until `revoked_at`. At
    `expires_at` the tokens have expired anyway; the row is kept for a day longer.
    """

    __tablename__ = "revoked_tokens"

    token_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    revoked_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)


class Flag(Base):
    """A flag: an anomaly caused by a user, at most one per user, rule and hour."""

    __tablename__ = "marks"

    user_id: Mapped[str] = mapped_column(ForeignKey("users.user_id"), primary_key=True)
    rule: Mapped[str] = mapped_column(String(32), primary_key=True)
    hour: Mapped[datetime] = mapped_column(UtcDateTime, primary_key=True)
    detail: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)


def standing_order() -> tuple[ColumnElement[Any], ...]:
    """Return the order of the board: highest score first; ties by `reached_at`, then `user_id`."""
    return Standing.score.desc(), Standing.reached_at.asc(), Standing.user_id.asc()


# Contains every column that the board shows, so that reads never touch the table.
Index("standings_in_order", Standing.hidden, *standing_order())
