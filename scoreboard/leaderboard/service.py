"""Leaderboard reads: authorization, cursors, and the ETags of the responses."""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Any

from flask import Flask, current_app
from itsdangerous import BadData, URLSafeSerializer
from sqlalchemy import Connection

from ..auth import tokens
from ..concurrency.coalescer import Coalescer
from ..db import transactions
from ..errors import InvalidInput, NotPermitted, ScoreboardError
from ..http.etags import CacheableBody, etag_of
from ..http.fields import moment
from ..http.json import dumps
from ..services import services
from . import ranking, top10
from .ranking import PageEnd, Snapshot, SortKey
from .schemas import neighbours_query_schema, page_query_schema
from .top10 import BoardChange

# Reads per transaction: with more, cheap reads would wait for those that count many rows.
MAX_BATCH_SIZE = 10

# Reads the JSON body of a response. On SQLite it runs in a thread, without Flask's context.
Read = Callable[[Snapshot], dict[str, Any]]


def init_app(app: Flask) -> None:
    """Create the application's cache of the top 10 and coalescer of leaderboard reads."""

    def read_board() -> BoardChange | None:
        with app.app_context():
            return top10.since(None)

    services(app).top10_cache = top10.Top10Cache(read_board)
    services(app).leaderboard_reads = LeaderboardReads()


def page(query: dict[str, str], token: str | None, known: Collection[str]) -> CacheableBody:
    """Return a page of the leaderboard: `entries`, `total`, and the cursor `next`. Blocks.

    The body is None if its ETag is in `known`. Raises InvalidInput, and NotAuthenticated unless the
    board is public or the token may watch it.
    """
    _authorize(token)
    parameters = page_query_schema.load(query)
    after = _page_end(open_cursor("page", parameters))
    cursors = cursor_serializer("page")

    def read(snapshot: Snapshot) -> dict[str, Any]:
        entries, end = ranking.page(snapshot, parameters["limit"], after)
        cursor = end and cursors.dumps(_cursor_content(end))
        return {"entries": entries, "total": snapshot.total(), "next": cursor}

    return conditional_body(["page", parameters], known, read)


def neighbours(
    user_id: str, query: dict[str, str], token: str | None, known: Collection[str]
) -> CacheableBody:
    """Return a user's `entry`, the `entries` around it, and `total`. Raises NotFound."""
    _authorize(token)
    parameters = neighbours_query_schema.load({**query, "user_id": user_id})

    def read(snapshot: Snapshot) -> dict[str, Any]:
        user_id, around = parameters["user_id"], parameters["around"]
        entry, entries = ranking.neighbours(snapshot.connection, user_id, around)
        return {"entry": entry, "entries": entries, "total": snapshot.total()}

    return conditional_body(["neighbours", parameters], known, read)


def _authorize(token: str | None) -> None:
    """Raise NotAuthenticated unless the board is public or the token may watch it."""
    if not current_app.config["PUBLIC_BOARD"] and not tokens.authenticate(token).may("board:watch"):
        raise NotPermitted("This token may not watch the board.")


def conditional_body(query: list[Any], known: Collection[str], read: Read) -> CacheableBody:
    """Return the body that `read` returns, and its ETag; no body if the ETag is in `known`.

    The ETag covers the query and the board's stamp: the body depends on nothing else. Blocks.
    """
    if known:
        etag = etag_of(dumps([transactions.read(ranking.stamp), *query]))
        if etag in known:
            return CacheableBody(etag, None)
    stamp, body = services().leaderboard_reads.run(read)
    return CacheableBody(etag_of(dumps([stamp, *query])), dumps(body))


class LeaderboardReads:
    """Coalesces concurrent reads: they share one snapshot of the board and its total."""

    def __init__(self) -> None:
        self._batches = Coalescer[Read, tuple[str, dict[str, Any]]](
            lambda reads: transactions.long_read(lambda connection: self._run(connection, reads)),
            MAX_BATCH_SIZE,
        )
        self._totals: dict[str, int] = {}

    def run(self, read: Read) -> tuple[str, dict[str, Any]]:
        """Return the stamp of a snapshot of the board, and the result of `read` on it. Blocks."""
        return self._batches.run(read)

    def _run(
        self, connection: Connection, reads: Sequence[Read]
    ) -> list[tuple[str, dict[str, Any]] | Exception]:
        snapshot = Snapshot(connection, ranking.stamp(connection), self._totals)
        results: list[tuple[str, dict[str, Any]] | Exception] = []
        for read in reads:
            try:
                results.append((snapshot.stamp, read(snapshot)))
            except ScoreboardError as error:
                results.append(error)
        return results


def cursor_serializer(kind: str) -> URLSafeSerializer:
    """Return the serializer of cursors of this kind. It signs them, so ranks cannot be forged."""
    return URLSafeSerializer(current_app.config["SECRET_KEY"], kind)


def open_cursor(kind: str, query: dict[str, Any]) -> Any:
    """Return the content of the query's cursor, None if there is none. Raises InvalidInput."""
    if query["cursor"] is None:
        return None
    try:
        return cursor_serializer(kind).loads(query["cursor"])
    except BadData:
        problem = {"cursor": ["Must be the `next` of an answer."]}
        raise InvalidInput("The cursor was not issued by this server.", problem) from None


def _cursor_content(end: PageEnd) -> list[Any]:
    score, reached_at, user_id = end.key
    return [[score, moment(reached_at), user_id], end.rank, end.position, end.stamp]


def _page_end(content: list[Any] | None) -> PageEnd | None:
    if content is None:
        return None
    (score, reached_at, user_id), *rest = content
    return PageEnd(SortKey(score, datetime.fromisoformat(reached_at), user_id), *rest)
