"""Reads of the leaderboard: authorization, cursors, and the ETags of the responses."""

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
from .top10 import Batch

# Reads per transaction: with more, cheap reads would wait for those that count many rows.
MAX_BATCH_SIZE = 10

Read = Callable[[Snapshot], Any]


def init_app(app: Flask) -> None:
    """Create the application's cache of the top 10 and coalescer of leaderboard reads."""

    def read_board() -> Batch | None:
        with app.app_context():
            return top10.since(None)

    services(app).top10_cache = top10.Top10Cache(read_board)
    services(app).leaderboard_reads = LeaderboardReads()


def page(query: dict[str, str], token: str | None, known: Collection[str]) -> CacheableBody:
    """Return a page of the leaderboard: `entries`, `total`, and the cursor `next`.

    The body is None if its ETag is in `known`. Raises InvalidInput, and NotAuthenticated unless the
    board is public or the token may watch it. Blocks for the read.
    """
    _authorize(token)
    parameters = page_query_schema.load(query)
    after = _open_page_cursor(parameters)

    def body() -> tuple[str, dict[str, Any]]:
        snapshot, (entries, end) = services().leaderboard_reads.run(
            lambda snapshot: ranking.page(snapshot, parameters["limit"], after)
        )
        cursor = end and _page_cursor(end)
        return snapshot.stamp, {"entries": entries, "total": snapshot.total, "next": cursor}

    return conditional_body(["page", parameters], known, body)


def neighbours(
    user_id: str, query: dict[str, str], token: str | None, known: Collection[str]
) -> CacheableBody:
    """Return a user's `entry`, the `entries` around and including it, and `total`.

    Otherwise as `page`. Raises NotFound if the user does not exist or is not on the board.
    """
    _authorize(token)
    parameters = neighbours_query_schema.load({**query, "user_id": user_id})
    wanted, around = parameters["user_id"], parameters["around"]

    def body() -> tuple[str, dict[str, Any]]:
        snapshot, (entry, entries) = services().leaderboard_reads.run(
            lambda snapshot: ranking.neighbours(snapshot.connection, wanted, around)
        )
        return snapshot.stamp, {"entry": entry, "entries": entries, "total": snapshot.total}

    return conditional_body(["neighbours", parameters], known, body)


def _authorize(token: str | None) -> None:
    """Raise NotAuthenticated unless the board is public or the token may watch it."""
    if not current_app.config["PUBLIC_BOARD"] and not tokens.authenticate(token).may("board:watch"):
        raise NotPermitted("This token may not watch the board.")


def conditional_body(
    query: list[Any], known: Collection[str], read: Callable[[], tuple[str, dict[str, Any]]]
) -> CacheableBody:
    """Return the body that `read` returns after the stamp; no body if its ETag is in `known`.

    The ETag covers the query and the board's stamp: the body depends on nothing else.
    """
    if known:
        etag = etag_of(dumps([transactions.read(ranking.stamp), *query]))
        if etag in known:
            return CacheableBody(etag, None)
    stamp, body = read()
    return CacheableBody(etag_of(dumps([stamp, *query])), dumps(body))


class LeaderboardReads:
    """Coalesces concurrent reads: they share one snapshot of the board and its total."""

    def __init__(self) -> None:
        self._batches = Coalescer[Read, tuple[Snapshot, Any]](
            lambda reads: transactions.long_read(lambda connection: self._run(connection, reads)),
            MAX_BATCH_SIZE,
        )
        self._counted = ("", 0)  # the stamp, and the total at it

    def run(self, read: Read) -> tuple[Snapshot, Any]:
        """Return a snapshot of the board, and the result of `read` on it. Blocks."""
        return self._batches.ask(read)

    def _run(
        self, connection: Connection, reads: Sequence[Read]
    ) -> list[tuple[Snapshot, Any] | Exception]:
        stamp = ranking.stamp(connection)
        if self._counted[0] != stamp:
            self._counted = stamp, ranking.total(connection)
        snapshot = Snapshot(connection, *self._counted)
        return [_result(read, snapshot) for read in reads]


def _result(read: Read, snapshot: Snapshot) -> tuple[Snapshot, Any] | Exception:
    try:
        return snapshot, read(snapshot)
    except ScoreboardError as error:
        return error


def make_cursor(kind: str, content: Any) -> str:
    """Return this as a cursor of this kind: text for a URL, signed."""
    return str(URLSafeSerializer(current_app.config["SECRET_KEY"], kind).dumps(content))


def open_cursor(kind: str, query: dict[str, Any]) -> Any:
    """Return the content of the query's cursor, None if there is none. Raises InvalidInput.

    The signature proves that this server wrote it, so forged ranks are never shown.
    """
    if query["cursor"] is None:
        return None
    try:
        return URLSafeSerializer(current_app.config["SECRET_KEY"], kind).loads(query["cursor"])
    except BadData:
        problem = {"cursor": ["Must be the `next` of a response."]}
        raise InvalidInput("The cursor was not issued by this server.", problem) from None


def _page_cursor(end: PageEnd) -> str:
    score, reached_at, user_id = end.key
    key = [score, moment(reached_at), user_id]
    return make_cursor("page", [key, end.rank, end.position, end.stamp])


def _open_page_cursor(query: dict[str, Any]) -> PageEnd | None:
    content = open_cursor("page", query)
    if content is None:
        return None
    (score, reached_at, user_id), rank, position, stamp = content
    return PageEnd(
        SortKey(score, datetime.fromisoformat(reached_at), user_id), rank, position, stamp
    )
