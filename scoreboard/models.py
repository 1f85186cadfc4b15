"""Database tables: users, links, boards, seasons, scores, standings, tokens, tickets, flags."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
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
    Text,
    TypeDecorator,
    text,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.sql import operators

from .extensions import Base
from .permissions import ROLES

# Number.MAX_SAFE_INTEGER in ECMA-262: beyond it JavaScript and doubles skip integers.
MAX_SCORE = 2**53 - 1
# Shown for a total that exceeds MAX_SCORE by a fraction.
MAX_TOTAL = 2**53
# The board that always exists: endpoints, events and connections that name no board mean it.
MAIN = "main"
# The title of MAIN in a new database. It stands for the setting BOARD_TITLE.
DEFAULT_TITLE = "Scoreboard"


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
    without `password_hash` cannot sign in with a password (guests, seeded players). One with
    `suspended_at` is refused everywhere from that moment on; one with `hidden_at` is not on the
    board. An erased user has no `username`, and only its scores are left.
    """

    __tablename__ = "users"
    __table_args__ = (
        CheckConstraint(
            "role IN ({})".format(", ".join(f"'{role}'" for role in ROLES)), name="role"
        ),
    )

    user_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    # NULL only if erased; queries for people leave these out.
    username: Mapped[str] = mapped_column(String(64), nullable=True)
    name_key: Mapped[str | None] = mapped_column(String(256), unique=True)
    email: Mapped[str | None] = mapped_column(String(254), unique=True)
    password_hash: Mapped[str | None] = mapped_column(String(255))
    role: Mapped[str] = mapped_column(String(16))
    suspended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    hidden_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Board(Base):
    """A board: a title and the rules by which it ranks users.

    A board without `source` is a ledger: it takes updates. A derived board, one with a source,
    ranks the updates of that ledger by rules of its own. `tickets` is the least age of a run ticket
    in seconds, None if the board needs none. `reset` is None or the fields of
    `boards.seasons.Reset`. `next_change_at` is when the season ends, or the board opens, closes or
    freezes, whichever is first; at that time `state` ("open" or "closed"), the season or `frozen`
    changes. `frozen` is None or the fields of `boards.board.Frozen`. Policy, bounds, `submit` and
    `public` of `main` are settings: its columns are not used.
    """

    __tablename__ = "boards"

    board_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    title: Mapped[str] = mapped_column(String(64))
    source: Mapped[str | None] = mapped_column(ForeignKey("boards.board_id"), index=True)
    policy: Mapped[str] = mapped_column(String(8), default="latest")
    order: Mapped[str] = mapped_column(String(4), default="desc")
    format: Mapped[str] = mapped_column(String(8), default="number")
    min_score: Mapped[float | None] = mapped_column(Double)
    max_score: Mapped[float | None] = mapped_column(Double)
    submit: Mapped[str] = mapped_column(String(8), default="player")
    public: Mapped[bool] = mapped_column(default=True)
    tickets: Mapped[int | None]
    opens_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    closes_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    freezes_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    frozen: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    reset: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    state: Mapped[str] = mapped_column(String(8), default="open")
    next_change_at: Mapped[datetime | None] = mapped_column(UtcDateTime, index=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    archived_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class Season(Base):
    """A season of a board, numbered from 1. It has the updates from `starts_at` to `ends_at`.

    `ends_at` is exclusive, and None if the season ends only by hand. A season that has ended has
    the time of its end. The scores of the season have ids greater than `after_score_id`.
    """

    __tablename__ = "seasons"

    board_id: Mapped[str] = mapped_column(ForeignKey("boards.board_id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    starts_at: Mapped[datetime] = mapped_column(UtcDateTime)
    ends_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    after_score_id: Mapped[int] = mapped_column(BigInteger, default=0)


class BoardVersion(Base):
    """The columns of a board that its transactions change; one row per board.

    `stamp` is random and changes with each change of the board: it is in the ETags, and
    distinguishes equal version numbers of different boards, such as a restored one. `shown` is a
    stamp that changes only when moderation changes the users whom the public sees: a user is hidden
    or shown, the board is frozen, a place is revealed. `season` is the number of the current one.

    The other columns are used by ledgers alone. Every transaction that may change the ledger or its
    derived boards increments `version` and so locks the row until it commits: versions follow the
    commits without a gap, which gives one order of all updates, across processes. `clock` is the
    latest server time given to an update, in microseconds since the epoch; unlike the clock of a
    machine it never goes back. `settings_version` is random and changes with the settings, a state
    or a season of these boards.
    """

    __tablename__ = "board_versions"

    board_id: Mapped[str] = mapped_column(ForeignKey("boards.board_id"), primary_key=True)
    version: Mapped[int] = mapped_column(BigInteger, default=0)
    stamp: Mapped[str] = mapped_column(String(16))
    clock: Mapped[int] = mapped_column(BigInteger, default=0)
    settings_version: Mapped[int] = mapped_column(BigInteger, default=0)
    season: Mapped[int] = mapped_column(default=1)
    shown: Mapped[str] = mapped_column(String(16), server_default="")


_VOIDED = text("voided_at IS NOT NULL")


class Score(Base):
    """One accepted update, kept as history.

    `board_id` is the ledger to which it was submitted, `season` that ledger's season. `derived` is
    JSON text, the season and the user's score after it on each derived board in which it counts:
    `{"weekly": [7, 120]}`. It is None if there is no such board.

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
        Index("score_identity", "user_id", "submitted_by", "identity", "board_id", unique=True),
        CheckConstraint(_within_range("score_value", MAX_SCORE), name="score_value_range"),
        Index("scores_by_version", "board_id", "version"),
        Index("scores_of_user", "user_id", "board_id", "score_id"),
        Index("scores_voided", "user_id", sqlite_where=_VOIDED, postgresql_where=_VOIDED),
    )

    score_id: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    )
    board_id: Mapped[str] = mapped_column(String(32), server_default=MAIN)
    season: Mapped[int] = mapped_column(server_default="1")
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
    derived: Mapped[str | None] = mapped_column(Text)
    voided_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    voided_by: Mapped[str | None] = mapped_column(ForeignKey("users.user_id"))
    void_reason: Mapped[str | None] = mapped_column(String(200))


class Standing(Base):
    """A user's score in a season of a board, written in the same transaction as the update.

    `rank_key` is the score, negated where lower is better: the highest key is first. `remainder` is
    the exact total minus the score, in billionths: 0 wherever the shortest decimal of the score is
    exact. `reached_at` is the server time at which the score got its current value, `achieved_at`
    the timestamp of the update that set it, `score_id` the id of that update. A hidden user keeps a
    standing but is not on the board.

    While a board is frozen, the standings of its season as the public sees them, the image, are
    stored under the negative number of the season.
    """

    __tablename__ = "standings"
    __table_args__ = (CheckConstraint(_within_range("rank_key", MAX_TOTAL), name="standing_range"),)

    # Without a foreign key, as in scores: each row written would lock the row of its board.
    user_id: Mapped[str] = mapped_column(ForeignKey("users.user_id"), primary_key=True)
    board_id: Mapped[str] = mapped_column(String(32), primary_key=True, server_default=MAIN)
    season: Mapped[int] = mapped_column(primary_key=True, server_default="1", autoincrement=False)
    rank_key: Mapped[float] = mapped_column(Double)
    remainder: Mapped[int] = mapped_column(server_default="0")
    reached_at: Mapped[datetime] = mapped_column(UtcDateTime)
    achieved_at: Mapped[datetime] = mapped_column(UtcDateTime)
    score_id: Mapped[int] = mapped_column(ForeignKey("scores.score_id"))
    hidden: Mapped[bool] = mapped_column(default=False)


class RevokedToken(Base):
    """A revoked token by its `jti`, a revoked sign-in by its family, or all tokens of a user.

    In the latter case `token_id` is `user:` and the id, for tokens issued until `revoked_at`,
    except those of the sign-in `kept`. At `expires_at` the tokens have expired anyway; the row is
    kept for a day longer.
    """

    __tablename__ = "revoked_tokens"

    token_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    revoked_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    kept: Mapped[str | None] = mapped_column(String(64))


class ResetLink(Base):
    """The link that sets a user's password once; only a hash of its token is stored."""

    __tablename__ = "reset_links"

    user_id: Mapped[str] = mapped_column(ForeignKey("users.user_id"), primary_key=True)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)


class UsedTicket(Base):
    """A run ticket that an accepted update has used; kept for a day after it has expired."""

    __tablename__ = "used_tickets"

    ticket_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)


class Flag(Base):
    """A flag: an anomaly caused by a user, at most one per user, rule and hour."""

    __tablename__ = "marks"

    user_id: Mapped[str] = mapped_column(ForeignKey("users.user_id"), primary_key=True)
    rule: Mapped[str] = mapped_column(String(32), primary_key=True)
    hour: Mapped[datetime] = mapped_column(UtcDateTime, primary_key=True)
    detail: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)


_PENDING = text("next_attempt_at IS NOT NULL")


class Webhook(Base):
    """An address to which events are sent, and the secret that signs them.

    `format` is "json", "discord" or "slack"; `boards` are the ids of the boards whose events are
    sent, None for all. A webhook with `disabled_at` gets no events.
    """

    __tablename__ = "webhooks"

    webhook_id: Mapped[int] = mapped_column(primary_key=True)
    url: Mapped[str] = mapped_column(Text)
    format: Mapped[str] = mapped_column(String(8))
    events: Mapped[list[str]] = mapped_column(JSON)
    boards: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    secret: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    disabled_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class WebhookDelivery(Base):
    """An event for a webhook, stored by the transaction that causes the event: the outbox.

    `board_id` is empty for an event of no board. `payload` is JSON text. `next_attempt_at` is None
    once the delivery has succeeded (then it has `delivered_at`) or failed for good. While an
    attempt is in progress, it is when another process may take the delivery over.
    """

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        Index("webhook_deliveries_newest", "webhook_id", "delivery_id"),
        # The pending ones: in the order of each board, and those that are due.
        Index(
            *("webhook_deliveries_in_order", "webhook_id", "board_id", "delivery_id"),
            sqlite_where=_PENDING,
            postgresql_where=_PENDING,
        ),
        Index(
            *("webhook_deliveries_due", "webhook_id", "next_attempt_at"),
            sqlite_where=_PENDING,
            postgresql_where=_PENDING,
        ),
    )

    delivery_id: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    )
    webhook_id: Mapped[int] = mapped_column(ForeignKey("webhooks.webhook_id"))
    event_id: Mapped[str] = mapped_column(String(40))
    event: Mapped[str] = mapped_column(String(16))
    board_id: Mapped[str] = mapped_column(String(32))
    payload: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    attempts: Mapped[int] = mapped_column(default=0)
    next_attempt_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    delivered_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_status: Mapped[int | None]
    last_error: Mapped[str | None] = mapped_column(String(200))


def standing_order() -> tuple[ColumnElement[Any], ...]:
    """Return the order of a board: best score first; ties by `reached_at`, then `user_id`."""
    return Standing.rank_key.desc(), Standing.reached_at.asc(), Standing.user_id.asc()


def reversed_standing_order() -> tuple[ColumnElement[Any], ...]:
    """Return the order of a board from the last place to the first."""
    return tuple(
        term.element.asc() if term.modifier is operators.desc_op else term.element.desc()
        for term in standing_order()
    )


# Contains every column that a board shows, so that reads never touch the table. It has no hidden
# standings, so that Postgres, which underestimates a season that is new since its last statistics,
# cannot use it to find the standings of single users, and read the whole season.
Index(
    "standings_in_order",
    Standing.board_id,
    Standing.season,
    *standing_order(),
    Standing.hidden,
    sqlite_where=Standing.hidden.is_(False),
    postgresql_where=Standing.hidden.is_(False),
)
