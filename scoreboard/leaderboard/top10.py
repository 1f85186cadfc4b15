"""Read and cache the top 10, and read the updates committed after a board version."""

import math
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, bindparam, select

from ..concurrency.coalescer import Coalescer
from ..db import transactions
from ..errors import DATABASE_ERRORS, Overloaded, ServerError
from ..http.etags import CacheableBody, etag_of
from ..http.fields import number
from ..http.json import dumps
from ..models import BoardVersion, Score, Standing, standing_order

TOP = 10
# Maximum updates read after a version; of more, only the newest are sent.
MAX_MISSED_UPDATES = 10_000
# Seconds until the cache reads the top 10 again, and so sees the updates of other processes.
MAX_AGE = 0.1

# Statements are built once, because they never change.
TOP_STATEMENT = (
    select(Standing.user_id, Standing.score)
    .where(Standing.hidden.is_(False))
    .order_by(*standing_order())
    .limit(TOP)
)
_UPDATES_AFTER = (  # newest first
    select(Score.user_id, Score.score)
    .where(Score.version > bindparam("version"))
    .order_by(Score.version.desc(), Score.created_at.desc())
    .limit(MAX_MISSED_UPDATES)
)


@dataclass(frozen=True)
class BoardChange:
    """One version of the board: its updates and the resulting top 10.

    `updates` and `top10` are the `data` of the messages `score_update` and `top_10_update`.
    `received` holds the arrival times of this process's updates, by its time.perf_counter.
    """

    version: int
    updates: list[dict[str, Any]]
    top10: dict[str, Any]
    received: list[float] = field(default_factory=list, compare=False)


def read(connection: Connection) -> dict[str, Any]:
    """Return the top 10 as the endpoint and the messages contain it, from one index scan."""
    rows = connection.execute(TOP_STATEMENT)
    return {"top_10_scores": [{"user_id": user, "score": number(score)} for user, score in rows]}


def score_update(user_id: str, score: float) -> dict[str, Any]:
    """Return the `data` of a `score_update` message; `score` is the score after the update."""
    return {"user_id": user_id, "new_score": number(score)}


def since(version: int | None) -> BoardChange | None:
    """Return what was committed after this version as one change, or None if nothing was.

    If `version` is None, return the current board without updates. Blocks for the read.
    """

    def read_changes(connection: Connection) -> BoardChange | None:
        current = connection.execute(select(BoardVersion.version)).scalar_one()
        if version == current:
            return None
        updates = []
        if version is not None:
            rows = connection.execute(_UPDATES_AFTER, {"version": version}).all()
            updates = [score_update(user_id, score) for user_id, score in reversed(rows)]
        return BoardChange(current, updates, read(connection))

    return transactions.read(read_changes)


class Top10Cache:
    """The current top 10 as a JSON body, read from the database at most ten times a second.

    It has all updates that this process published, and is at most MAX_AGE seconds behind other
    processes. While the database fails, it keeps the last content.
    """

    def __init__(self, read_board: Callable[[], BoardChange | None]) -> None:
        """Create an empty cache; `read_board` returns the current board and may block."""
        self._read_board = read_board
        self._change = BoardChange(-1, [], {})  # older than any
        self._content = CacheableBody("", None)
        self._read_at = -math.inf  # by time.monotonic
        self._lock = threading.Lock()
        # Concurrent callers share one read and its failure: one after another, each would wait for
        # its own timeout while the database hangs.
        self._reads = Coalescer[None, None](self._read, sys.maxsize)

    def offer(self, change: BoardChange) -> None:
        """Store the top 10 of a change committed by this process, if newer. Holds a lock."""
        with self._lock:
            if self._change.version < change.version:
                self._store(change)

    def get(self) -> CacheableBody:
        """Return the top 10 as the endpoint sends it.

        Blocks for a read if the previous one is too old. Raises ServerError or Overloaded if that
        fails and the cache is still empty.
        """
        if self._is_old():
            try:
                self._reads.run(None)
            except (ServerError, Overloaded):
                if self._change.version < 0:
                    raise
        return self._content

    def _store(self, change: BoardChange) -> None:
        self._change = change
        body = dumps(change.top10)
        self._content = CacheableBody(etag_of(body), body)

    def _is_old(self) -> bool:
        return self._change.version < 0 or time.monotonic() - self._read_at > MAX_AGE

    def _read(self, callers: list[None]) -> list[None]:
        if self._is_old():  # unless the previous batch of calls read it meanwhile
            before, started = self._change, time.monotonic()
            try:
                current = self._read_board()
            except DATABASE_ERRORS:
                self._read_at = time.monotonic()  # retry no sooner than after a success
                raise
            with self._lock:
                # Only a change offered during the read may be newer. Otherwise the read wins, even
                # with a lower version: the database was replaced.
                if current and (self._change is before or self._change.version < current.version):
                    self._store(current)
            self._read_at = started
        return callers
