"""Run tickets: a signed text proves when a player's run started, and a row that it was used.

A ticket is not stored when it is issued: its signature is the proof. It is used by the transaction
of the update that it comes with, so the database decides that it is used once.
"""

import math
import secrets
import time
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from flask import current_app
from itsdangerous import BadData, URLSafeSerializer
from sqlalchemy import Connection, delete, select

from ..boards.board import BoardState
from ..db import transactions
from ..errors import TicketRefused
from ..http.fields import moment
from ..models import UsedTicket

LIFETIME = timedelta(hours=6)
# A used ticket is remembered for so long after it has expired: the clocks of machines differ.
RETENTION = timedelta(days=1)
# Expired rows that one transaction deletes: more than the updates that a transaction can have.
MAX_DELETED = 400


class Ticket(NamedTuple):
    """A ticket as it arrived. Its age is negative if this machine's clock is behind the issuer's.

    `age` is in seconds.
    """

    ticket_id: str
    user_id: str
    board_id: str
    age: float
    expires_at: datetime


def issue(user_id: str, board: BoardState) -> dict[str, Any]:
    """Return a new ticket of this user for this board, with the time at which it expires."""
    now = time.time()
    content = [secrets.token_urlsafe(16), user_id, board.board_id, now]
    return {"ticket": _serializer().dumps(content), "expires_at": moment(_expiry(now))}


def read(text: str) -> Ticket | None:
    """Return the ticket in this text, or None if it was not issued here. Reads no database."""
    try:
        ticket_id, user_id, board_id, issued_at = _serializer().loads(text)
    except (BadData, UnicodeError):  # a lone surrogate is text in JSON, but not in UTF-8
        return None
    age = time.time() - issued_at
    return Ticket(ticket_id, user_id, board_id, age, _expiry(issued_at))


def check(ticket: Ticket | None, user_id: str, board: BoardState, used: Collection[str]) -> None:
    """Raise TicketRefused unless the user may use this ticket on the board.

    `used` are the ids of tickets known to be used.
    """
    if ticket is None or (ticket.user_id, ticket.board_id) != (user_id, board.board_id):
        raise TicketRefused(
            "get one for this board when the run of this user starts", "ticket_required"
        )
    if ticket.ticket_id in used:
        raise TicketRefused("this one was used, get a new one for each run", "ticket_used")
    if ticket.age >= LIFETIME.total_seconds():
        raise TicketRefused(
            "this one has expired, get a new one when the run starts", "ticket_expired"
        )
    if (wait := (board.tickets or 0) - ticket.age) > 0:
        raise TicketRefused(
            f"this one is too young, send it again in {math.ceil(wait)} s", "ticket_too_young"
        )


def use(connection: Connection, tickets: Collection[Ticket]) -> set[str]:
    """Record that these tickets are used; return the ids of those that were used before.

    Deletes tickets that nobody can use any more.
    """
    if not tickets:
        return set()
    oldest = datetime.fromtimestamp(time.time(), UTC) - RETENTION
    # Another ledger may delete at the same time: neither waits for the rows of the other.
    expired = select(UsedTicket.ticket_id).where(UsedTicket.expires_at < oldest).limit(MAX_DELETED)
    expired = expired.with_for_update(skip_locked=True)
    connection.execute(delete(UsedTicket).where(UsedTicket.ticket_id.in_(expired)))
    rows = [{"ticket_id": each.ticket_id, "expires_at": each.expires_at} for each in tickets]
    insert = transactions.insert(UsedTicket, connection.dialect.name).values(rows)
    inserted = insert.on_conflict_do_nothing().returning(UsedTicket.ticket_id)
    return {each.ticket_id for each in tickets} - set(connection.execute(inserted).scalars())


def _serializer() -> URLSafeSerializer:
    return URLSafeSerializer(current_app.config["SECRET_KEY"], "run ticket")


def _expiry(issued_at: float) -> datetime:
    return datetime.fromtimestamp(issued_at, UTC) + LIFETIME
