"""Reads and caches the top 10, and reads what was committed after a board version."""

import math
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, select

from ..concurrency.coalescer import Coalescer
from ..db import transactions as database
from ..errors import Overloaded, ServerError
from ..http.etags import CacheableBody, etag_of
from ..http.fields import number
from ..http.json import dumps
from ..models import BoardVersion, Score, Standing, standing_order
from .schemas import entries_schema

TOP = 10
# Maximum updates read after a version; of more, only the newest are sent.
MAX_MISSED_UPDATES = 10_000
MAX_AGE = 0.1


@dataclass(frozen=True)
class Batch:
    """One version of the board: its updates and the resulting top 10.

    `updates` and `top10` are the `data` of the messages `score_update` and `top_10_update`.
    `received` holds the arrival times of this process's updates, by its time.perf_counter.
    """

    version: int
    updates: list[dict[str, Any]]
    top10: dict[str, Any]
    received: list[float] = field(default_factory=list, compare=False)


@dataclass(frozen=True)
class Entry:
    """One line of the top 10."""

    user_id: str
    score: float


# Built once, because the statement never changes.
TOP_STATEMENT = (
    select(Standing.user_id, Standing.score)
    .where(Standing.hidden.is_(False))
    .order_by(*standing_order())
    .limit(TOP)
)
_VERSION = select(BoardVersion.version)


def top(connection: Connection) -> tuple[Entry, ...]:
    """Return the top 10, highest score first, from one index scan."""
    return tuple(Entry(user_id, score) for user_id, score in connection.execute(TOP_STATEMENT))


def top10(entries: Sequence[Entry]) -> dict[str, Any]:
    """Return the top 10 as the endpoint and the messages contain it."""
    return {"top_10_scores": entries_schema.dump(entries)}


class Top10Cache:
    """The current top 10 as a JSON body, read from the database at most ten times a second.

    It is never older than what this process has published, and at most MAX_AGE seconds
    behind other processes. While the database fails, it keeps the last content.
    """

    def __init__(self, read: Callable[[], Batch | None]) -> None:
        """Create an empty cache; `read()` returns the current board as a batch and may block."""
        self._read_board = read
        self._batch = Batch(-1, [], {})  # older than any
        self._content = CacheableBody("", None)
        self._read_at = -math.inf  # by time.monotonic
        self._lock = threading.Lock()
        # Concurrent callers share one read and its failure: one after another, each would wait for
        # its own timeout while the database hangs.
        self._reads = Coalescer[None, None](self._read, sys.maxsize)

    def offer(self, batch: Batch) -> None:
        """Store the top 10 of a batch committed by this process, if newer. Holds a lock."""
        with self._lock:
            if self._batch.version < batch.version:
                self._set(batch)

    def get(self) -> CacheableBody:
        """Return the top 10 as the endpoint sends it.

        Blocks for a read if the last one is too old. Raises ServerError or Overloaded if that
        fails and the cache is still empty.
        """
        if self._is_old():
            try:
                self._reads.run(None)
            except (ServerError, Overloaded):
                if self._batch.version < 0:
                    raise
        return self._content

    def _set(self, batch: Batch) -> None:
        self._batch = batch
        body = dumps(batch.top10)
        self._content = CacheableBody(etag_of(body), body)

    def _is_old(self) -> bool:
        return time.monotonic() - self._read_at > MAX_AGE

    def _read(self, asked: list[None]) -> list[None]:
        if self._is_old():  # unless the previous batch read it meanwhile
            self._read_now()
        return asked

    def _read_now(self) -> None:
        before, now = self._batch, time.monotonic()
        try:
            found = self._read_board()
        except database.FAILURES:
            self._read_at = time.monotonic()  # retry no sooner than after a success
            raise
        with self._lock:
            # Only a batch offered during the read may be newer. Otherwise the read wins, even with
            # a lower version: the database was replaced.
            if found and (self._batch is before or self._batch.version < found.version):
                self._set(found)
        self._read_at = now


def score_update(user_id: str, score: float) -> dict[str, Any]:
    """Return the `data` of a `score_update` message; `score` is the score after the update."""
    return {"user_id": user_id, "new_score": number(score)}


def since(version: int | None) -> Batch | None:
    """Return what was committed after this version as one batch, or None if nothing was.

    If `version` is None, return the current board without updates. Blocks for the read.
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
        .limit(MAX_MISSED_UPDATES)
    )
    rows = connection.execute(newest_first).all()
    return [score_update(user_id, score) for user_id, score in reversed(rows)]
