"""Leaderboard reads: authorization, cursors, and the ETags of the responses."""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from flask import Flask, current_app
from itsdangerous import BadData, URLSafeSerializer
from sqlalchemy import Connection

from ..auth import tokens
from ..boards import service as boards
from ..concurrency.coalescer import Coalescer
from ..db import transactions
from ..errors import InvalidInput, NotPermitted, ScoreboardError
from ..http.etags import CacheableBody, etag_of
from ..http.fields import moment
from ..http.json import dumps
from ..models import MAIN
from ..services import services
from . import ranking, top10
from .ranking import PageEnd, Snapshot, SortKey, Totals
from .schemas import (
    board_neighbours_query_schema,
    board_page_query_schema,
    neighbours_query_schema,
    page_query_schema,
    season_query_schema,
)
from .top10 import LedgerChange

# Reads per transaction: with more, cheap reads would wait for those that count many rows.
MAX_BATCH_SIZE = 10

# Reads the JSON body of a response. On SQLite it runs in a thread, without Flask's context.
Read = Callable[[Snapshot], dict[str, Any]]


class Scope(NamedTuple):
    """What is read: a board, and a season of it or the current one if `season` is None.

    A frozen board is read as it was at the freeze, unless `live`.
    """

    board_id: str
    season: int | None = None
    live: bool = False


MAIN_SCOPE = Scope(MAIN)


def init_app(app: Flask) -> None:
    """Create the application's cache of the top 10 and coalescer of leaderboard reads."""
    parts = services(app)

    def read_main() -> LedgerChange | None:
        with app.app_context():
            return top10.since(parts.boards.store, MAIN, None)

    parts.top10_cache = top10.Top10Cache(read_main)
    parts.leaderboard_reads = LeaderboardReads()


def page(
    query: dict[str, str], token: str | None, known: Collection[str], board_id: str | None = None
) -> CacheableBody:
    """Return a page of the leaderboard: `entries`, `total`, and the cursor `next`. Blocks.

    Without `board_id` it is that of `main`; with it, the body has `board` and `season` as well, and
    the query may have `season`, `users` or `query`. The body is None if its ETag is in `known`.
    Raises InvalidInput, UnknownBoard, and NotAuthenticated unless the board is public or the token
    may watch it.
    """
    if board_id is None:
        scope, parameters = _main(token), page_query_schema.load(query)
    else:
        scope, parameters = _scope(board_id, token), board_page_query_schema.load(query)
    scope = _narrowed(scope, parameters, token)
    kind = "page" if board_id is None else f"page of {board_id}"
    after, users = _page_end(open_cursor(kind, parameters)), parameters.get("users")
    text = parameters.get("query", "").strip()
    cursors = cursor_serializer(kind)

    def read(snapshot: Snapshot) -> dict[str, Any]:
        if users:
            entries = ranking.of_users(snapshot, users)
            return {"entries": entries, "total": len(entries), "next": None}
        if text:
            entries = ranking.search(snapshot, text)
            return {"entries": entries, "total": len(entries), "next": None}
        entries, end = ranking.page(snapshot, parameters["limit"], after)
        cursor = end and cursors.dumps(_cursor_content(end))
        return {"entries": entries, "total": snapshot.total(), "next": cursor}

    return _board_body(board_id, ["page", parameters], known, read, scope)


def neighbours(
    user_id: str,
    query: dict[str, str],
    token: str | None,
    known: Collection[str],
    board_id: str | None = None,
) -> CacheableBody:
    """Return a user's `entry`, the `entries` around it, and `total`; see `page`.

    Raises NotFound as well.
    """
    if board_id is None:
        scope = _main(token)
        parameters = neighbours_query_schema.load({**query, "user_id": user_id})
    else:
        scope = _scope(board_id, token)
        parameters = board_neighbours_query_schema.load({**query, "user_id": user_id})
    scope = _narrowed(scope, parameters, token)

    def read(snapshot: Snapshot) -> dict[str, Any]:
        user_id, around = parameters["user_id"], parameters["around"]
        entry, entries = ranking.neighbours(snapshot, user_id, around)
        return {"entry": entry, "entries": entries, "total": snapshot.total()}

    return _board_body(board_id, ["neighbours", parameters], known, read, scope)


def board_top10(
    board_id: str, query: dict[str, str], token: str | None, known: Collection[str]
) -> CacheableBody:
    """Return the top 10 of a season of a board, with names and ranks; see `page`."""
    scope = _scope(board_id, token)
    scope = _narrowed(scope, season_query_schema.load(query), token)

    def read(snapshot: Snapshot) -> dict[str, Any]:
        return {"top_10_scores": ranking.page(snapshot, top10.TOP, None)[0]}

    return _board_body(board_id, ["top10"], known, read, scope)


def _main(token: str | None) -> Scope:
    """Return the scope of `main`. Raises NotAuthenticated unless it is public or may be watched."""
    if not current_app.config["PUBLIC_BOARD"] and not tokens.authenticate(token).may("board:watch"):
        raise NotPermitted("This token may not watch the board.")
    return MAIN_SCOPE


def _scope(board_id: str, token: str | None) -> Scope:
    """Return the scope of a board that the token may read. Raises UnknownBoard, NotPermitted."""
    return Scope(boards.readable(board_id, token).board_id)


def _narrowed(scope: Scope, parameters: dict[str, Any], token: str | None) -> Scope:
    """Return the scope with the season and `live` of the query, which are removed from it.

    Raises what `boards.is_live` raises.
    """
    live = boards.is_live(parameters.pop("live"), token)
    return scope._replace(season=parameters.pop("season", None), live=live)


def _board_body(
    board_id: str | None, query: list[Any], known: Collection[str], read: Read, scope: Scope
) -> CacheableBody:
    """Return the body; it starts with the board and the season if the request names a board."""
    query = [*query, *(["live"] if scope.live else [])]
    if board_id is None:
        return conditional_body(query, known, read, scope)

    def read_board(snapshot: Snapshot) -> dict[str, Any]:
        return {"board": board_id, "season": snapshot.season, **read(snapshot)}

    return conditional_body([board_id, scope.season, *query], known, read_board, scope)


def conditional_body(
    query: list[Any], known: Collection[str], read: Read, scope: Scope = MAIN_SCOPE
) -> CacheableBody:
    """Return the body that `read` returns, and its ETag; no body if the ETag is in `known`.

    The ETag covers the query and the board's stamp: the body depends on nothing else. Blocks.
    Raises InvalidInput if the board had no such season yet.
    """
    if known:
        stamp = transactions.read(lambda c: ranking.view(c, scope.board_id, scope.live)).stamp
        etag = etag_of(dumps([stamp, *query]))
        if etag in known:
            return CacheableBody(etag, None)
    stamp, body = services().leaderboard_reads.run(scope, read)
    return CacheableBody(etag_of(dumps([stamp, *query])), dumps(body))


class LeaderboardReads:
    """Coalesces concurrent reads: they share one snapshot of the database and its totals."""

    def __init__(self) -> None:
        self._batches = Coalescer[tuple[Scope, Read], tuple[str, dict[str, Any]]](
            lambda reads: transactions.long_read(lambda connection: self._run(connection, reads)),
            MAX_BATCH_SIZE,
        )
        self._totals: Totals = {}

    def run(self, scope: Scope, read: Read) -> tuple[str, dict[str, Any]]:
        """Return the stamp of a snapshot of the board, and the result of `read` on it. Blocks."""
        return self._batches.run((scope, read))

    def _run(
        self, connection: Connection, reads: Sequence[tuple[Scope, Read]]
    ) -> list[tuple[str, dict[str, Any]] | Exception]:
        results: list[tuple[str, dict[str, Any]] | Exception] = []
        for scope, read in reads:
            stamp, current, is_image = ranking.view(connection, scope.board_id, scope.live)
            season = scope.season or current
            sign = ranking.sign(connection, scope.board_id)
            is_image = is_image and season == current
            snapshot = Snapshot(
                *(connection, scope.board_id, season, sign, stamp, self._totals, is_image)
            )
            try:
                if season > current:
                    problem = {"season": [f"Must be at most {current}."]}
                    raise InvalidInput("This board has not had that season yet.", problem)
                results.append((stamp, read(snapshot)))
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
    rank_key, reached_at, user_id = end.key
    return [[rank_key, moment(reached_at), user_id], end.rank, end.position, end.stamp]


def _page_end(content: list[Any] | None) -> PageEnd | None:
    if content is None:
        return None
    (rank_key, reached_at, user_id), *rest = content
    return PageEnd(SortKey(rank_key, datetime.fromisoformat(reached_at), user_id), *rest)
