"""Read and cache the top 10, and read the updates committed after a version of a ledger."""

import functools
import math
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Connection, Executable, bindparam, literal_column, select, union_all

from ..boards import store
from ..boards.board import BoardState
from ..concurrency.coalescer import Coalescer
from ..db import transactions
from ..errors import DATABASE_ERRORS, Overloaded, ServerError
from ..http.etags import CacheableBody, etag_of
from ..http.fields import number
from ..http.json import dumps
from ..models import MAIN, BoardVersion, Score, Standing, User, standing_order

TOP = 10
# Maximum updates read after a version; of more, only the newest are sent.
MAX_MISSED_UPDATES = 10_000
# Seconds until the cache reads the top 10 again, and so sees the updates of other processes.
MAX_AGE = 0.1

# Statements are built once, because they never change.
# The name is a subquery of each line: with a join Postgres might join all users first.
_USERNAME = select(User.username).where(User.user_id == Standing.user_id).scalar_subquery()
_LINE = Standing.user_id, _USERNAME, Standing.rank_key
_SCORES_AFTER = (  # newest first
    select(
        *(Score.season, Score.user_id, User.username, Score.score, Score.derived),
        Score.created_at,
    )
    .join(User, User.user_id == Score.user_id)
    .where(
        Score.board_id == bindparam("ledger_id"),
        Score.version > bindparam("version"),
        User.hidden_at.is_(None),
    )
    .order_by(Score.version.desc(), Score.created_at.desc())
    .limit(MAX_MISSED_UPDATES)
)
_VERSIONS = select(BoardVersion.version, BoardVersion.settings_version).where(
    BoardVersion.board_id == bindparam("ledger_id")
)

# A line of the top 10: user_id, username, score and rank.
Entry = dict[str, Any]


class NewScore(NamedTuple):
    """A user's score on a board after an update, and the season in which the update counts."""

    season: int
    user_id: str
    username: str
    score: float

    def named(self) -> dict[str, Any]:
        """Return the `data` of a `score_update` message with the name of the user."""
        return {"user_id": self.user_id, "username": self.username, "new_score": number(self.score)}

    def unnamed(self) -> dict[str, Any]:
        """Return the `data` of a `score_update` message for clients that name no board."""
        return {"user_id": self.user_id, "new_score": number(self.score)}


@dataclass(frozen=True)
class BoardChange:
    """One board at one version of its ledger: the scores of its updates and the resulting top 10.

    All of it is what the public sees. `settings` is the board object without `players`; None if the
    settings, the state, the season and the stamp `shown` are as before. `players` is None if they
    were not counted.
    """

    season: int
    scores: list[NewScore]
    top10: list[Entry]
    settings: dict[str, Any] | None = None
    players: int | None = None
    shown: str = ""


@dataclass(frozen=True)
class LedgerChange:
    """One version of a ledger: a change for each of its boards, by id.

    An archived board is in the change that archives it, with that state. `received` holds the
    arrival times of this process's updates, by its time.perf_counter.
    """

    ledger_id: str
    version: int
    boards: dict[str, BoardChange]
    settings_version: int = 0
    received: list[float] = field(default_factory=list, compare=False)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "LedgerChange":
        """Return the change that was encoded as these JSON values."""
        boards = {
            board_id: BoardChange(**{**board, "scores": [NewScore(*s) for s in board["scores"]]})
            for board_id, board in values["boards"].items()
        }
        return cls(**{**values, "boards": boards})


@functools.cache
def _top10s(boards: int) -> Executable:
    """Return the statement that reads the top 10 of this number of boards, each by an index scan.

    The first column is the index of the board.
    """
    tops = [
        select(literal_column(str(index)).label("board"), *_LINE)
        .where(
            Standing.board_id == bindparam(f"board_{index}"),
            Standing.season == bindparam(f"season_{index}"),
            Standing.hidden.is_(False),
        )
        .order_by(*standing_order())
        .limit(TOP)
        for index in range(boards)
    ]
    # SQLite allows an order only within a subquery of a union.
    return union_all(*(select(top.subquery()) for top in tops)) if boards > 1 else tops[0]


def read(connection: Connection, boards: Sequence[BoardState]) -> list[list[Entry]]:
    """Return the top 10 of the season that each board shows."""
    if not boards:
        return []
    parameters: dict[str, Any] = {}
    for index, board in enumerate(boards):
        parameters |= {f"board_{index}": board.board_id, f"season_{index}": board.shown_standings}
    top10s: list[list[Entry]] = [[] for _ in boards]
    for index, user_id, username, rank_key in connection.execute(_top10s(len(boards)), parameters):
        entries = top10s[index]
        score, rank = number(boards[index].sign * rank_key), len(entries) + 1
        if entries and entries[-1]["score"] == score:
            rank = entries[-1]["rank"]  # a tie
        entries.append({"user_id": user_id, "username": username, "score": score, "rank": rank})
    return top10s


def unnamed(entries: Sequence[Entry]) -> dict[str, Any]:
    """Return the top 10 as `GET /api/score/top10` and clients that name no board get it."""
    lines = [{"user_id": entry["user_id"], "score": entry["score"]} for entry in entries]
    return {"top_10_scores": lines}


def board_changes(
    connection: Connection,
    boards: Sequence[BoardState],
    scores: Mapping[str, list[NewScore]],
    with_settings: Collection[str],
    with_players: Collection[str],
) -> dict[str, BoardChange]:
    """Return the change of each board, with its current top 10.

    `with_settings` and `with_players` are the boards of which to return these. Counting the players
    takes time.
    """
    changes = {}
    for board, entries in zip(boards, read(connection, boards), strict=True):
        board_id = board.board_id
        settings = board.body() if board_id in with_settings else None
        players = store.players(connection, board) if board_id in with_players else None
        of_board = scores.get(board_id, [])
        changes[board_id] = BoardChange(
            board.shown_season, of_board, entries, settings, players, board.shown
        )
    return changes


def since(
    boards: store.BoardStore, ledger_id: str, current: LedgerChange | None
) -> LedgerChange | None:
    """Return what was committed after `current` as one change, or None if nothing was.

    If `current` is None, return the current boards without scores. Blocks for the read.
    """

    def read_changes(connection: Connection) -> LedgerChange | None:
        version, settings_version = connection.execute(_VERSIONS, {"ledger_id": ledger_id}).one()
        if current and version == current.version:
            return None
        is_settings_change = current is not None and current.settings_version != settings_version
        found = boards.ledger_boards(connection, ledger_id)
        scores = _scores_after(connection, ledger_id, current.version, found) if current else {}
        if current and is_settings_change:
            archived = current.boards.keys() - {board.board_id for board in found}
            found += filter(None, (boards.find(connection, each) for each in archived))
        ids = [board.board_id for board in found]
        changes = board_changes(
            connection,
            found,
            scores,
            with_settings=ids if current is None or is_settings_change else (),
            with_players=ids if is_settings_change else (),
        )
        return LedgerChange(ledger_id, version, changes, settings_version)

    return transactions.read(read_changes)


def _scores_after(
    connection: Connection, ledger_id: str, version: int, boards: Sequence[BoardState]
) -> defaultdict[str, list[NewScore]]:
    """Return the scores of each board after the updates since a version, the oldest first.

    Those of users who are hidden now, and on a board those since its freeze, are left out.
    """
    frozen_at = {board.board_id: board.frozen.at for board in boards if board.frozen}
    parameters = {"ledger_id": ledger_id, "version": version}
    found: defaultdict[str, list[NewScore]] = defaultdict(list)
    for season, user_id, username, score, derived, created_at in reversed(
        connection.execute(_SCORES_AFTER, parameters).all()
    ):
        on_boards = {ledger_id: (season, score), **orjson.loads(derived or "{}")}
        for board_id, (of_season, on_board) in on_boards.items():
            if board_id not in frozen_at or created_at < frozen_at[board_id]:
                found[board_id].append(NewScore(of_season, user_id, username, on_board))
    return found


class Top10Cache:
    """The current top 10 of `main` as a JSON body, read at most ten times a second.

    It has all updates that this process published, and is at most MAX_AGE seconds behind other
    processes. While the database fails, it keeps the last content.
    """

    def __init__(self, read_main: Callable[[], LedgerChange | None]) -> None:
        """Create an empty cache; `read_main` returns the current ledger and may block."""
        self._read_main = read_main
        self._change = LedgerChange(MAIN, -1, {})  # older than any
        self._content = CacheableBody("", None)
        self._read_at = -math.inf  # by time.monotonic
        self._lock = threading.Lock()
        # Concurrent callers share one read and its failure: one after another, each would wait for
        # its own timeout while the database hangs.
        self._reads = Coalescer[None, None](self._read, sys.maxsize)

    def offer(self, change: LedgerChange) -> None:
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

    def _store(self, change: LedgerChange) -> None:
        self._change = change
        body = dumps(unnamed(change.boards[MAIN].top10))
        self._content = CacheableBody(etag_of(body), body)

    def _is_old(self) -> bool:
        return self._change.version < 0 or time.monotonic() - self._read_at > MAX_AGE

    def _read(self, callers: list[None]) -> list[None]:
        if self._is_old():  # unless the previous batch of calls read it meanwhile
            before, started = self._change, time.monotonic()
            try:
                current = self._read_main()
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
