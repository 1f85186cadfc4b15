"""The order of the players, read from the standings."""

import math
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from ..concurrency.coalescer import Together
from ..db import transactions as database
from ..errors import Overloaded, ServerError
from ..http.etags import Told, etag_of
from ..http.fields import number
from ..http.json import dumps
from ..leaderboard.batch import Batch
from ..models import BoardVersion, Score, Standing, standing_order
from .schemas import entries_schema

TOP = 10
# Of more missed updates than this, only the newest are told one by one.
MOST_MISSED = 10_000
SECONDS_BEHIND = 0.1


@dataclass(frozen=True)
class Entry:
    """One line of the board."""

    user_id: str
    score: float


# Built once: the statement never changes, only what it finds.
TOP_STATEMENT = (
    select(Standing.user_id, Standing.score)
    .where(Standing.hidden.is_(False))
    .order_by(*standing_order())
    .limit(TOP)
)
_VERSION = select(BoardVersion.version)


def top(connection: Connection) -> tuple[Entry, ...]:
    """Return the top 10, highest first, in one walk along the index."""
    return tuple(Entry(user_id, score) for user_id, score in connection.execute(TOP_STATEMENT))


def top10(entries: Sequence[Entry]) -> dict[str, Any]:
    """Return the top 10 as the endpoint and the messages tell it."""
    return {"top_10_scores": entries_schema.dump(entries)}


class Top10Cache:
    """The current top 10 as a JSON body, read from the database at most ten times a second.

    It is never older than what this process has published, and at most SECONDS_BEHIND what other
    processes have. While the database fails, it is as last read.
    """

    def __init__(self, read: Callable[[], Batch | None]) -> None:
        """Make an empty cache; `read()` returns the current board as a batch, and may block."""
        self._read_board = read
        self._batch = Batch(-1, [], {})  # older than any
        self._content = Told("", None)
        self._read_at = -math.inf  # by time.monotonic
        self._lock = threading.Lock()
        # Callers that wait for a database that hangs share its failure: one after the other, each
        # would wait for a timeout of its own.
        self._reads = Together[None, None](self._read, sys.maxsize)

    def offer(self, batch: Batch) -> None:
        """Take the top 10 of a batch that this process has committed."""
        with self._lock:
            if self._batch.version < batch.version:
                self._set(batch)

    def get(self) -> Told:
        """Return the top 10 as the endpoint sends it.

        Blocks for a read if the last one is old. Raises ServerError if there has never been one
        and the database fails.
        """
        if self._is_old():
            try:
                self._reads.ask(None)
            except (ServerError, Overloaded):
                if self._batch.version < 0:
                    raise
        return self._content

    def _set(self, batch: Batch) -> None:
        self._batch = batch
        body = dumps(batch.top10)
        self._content = Told(etag_of(body), body)

    def _is_old(self) -> bool:
        return time.monotonic() - self._read_at > SECONDS_BEHIND

    def _read(self, asked: list[None]) -> list[None]:
        if self._is_old():  # not read by those before, while these waited
            self._read_now()
        return asked

    def _read_now(self) -> None:
        before, now = self._batch, time.monotonic()
        try:
            found = self._read_board()
        except database.FAILURES:
            self._read_at = time.monotonic()  # the next try is not sooner than after a success
            raise
        with self._lock:
            # Only what was published meanwhile may be later. Else what was read holds, though
            # its version were lower: the database is another one than before.
            if found and (self._batch is before or self._batch.version < found.version):
                self._set(found)
        self._read_at = now


def score_update(user_id: str, score: float) -> dict[str, Any]:
    """Return an accepted update as the messages tell it; `score` is the one after it."""
    return {"user_id": user_id, "new_score": number(score)}


def since(version: int | None) -> Batch | None:
    """Return what was committed after this version as one batch, or None if nothing was.

    Without a version, return the present board and no updates.
    """
    return database.read(lambda connection: _since(connection, version))


def _since(connection: Connection, version: int | None) -> Batch | None:
    present = connection.execute(_VERSION).scalar_one()
    if version == present:
        return None
    updates = [] if version is None else _updates_after(connection, version)
    return Batch(present, updates, top10(top(connection)))


def _updates_after(connection: Connection, version: int) -> list[dict[str, Any]]:
    newest_first = (
        select(Score.user_id, Score.score)
        .where(Score.version > version)
        .order_by(Score.version.desc(), Score.created_at.desc())
        .limit(MOST_MISSED)
    )
    rows = connection.execute(newest_first).all()
    return [score_update(user_id, score) for user_id, score in reversed(rows)]
