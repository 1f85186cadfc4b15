"""Reads of the leaderboard: who may see it, and the ETags of the responses."""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Any

from flask import Flask, current_app
from itsdangerous import BadData, URLSafeSerializer
from sqlalchemy import Connection

from ..auth import tokens
from ..concurrency.coalescer import Coalescer
from ..db import transactions as database
from ..errors import InvalidInput, NotPermitted, ScoreboardError
from ..http.etags import CacheableBody, etag_of
from ..http.fields import moment
from ..http.json import dumps
from ..services import services
from . import ranking as leaderboard
from . import top10 as top10_cache
from .ranking import Last, Place, View
from .schemas import neighbours_query_schema, page_query_schema, ranked_schema, ranks_schema
from .top10 import Batch

# Reads per transaction: with more, cheap reads would wait for those that count many rows.
MAX_BATCH_SIZE = 10


def init_app(app: Flask) -> None:
    """Create the application's coalescer of leaderboard reads."""
    services(app).leaderboard_reads = LeaderboardReads()
    services(app).top10_cache = top10_cache.Top10Cache(lambda: _read_board(app))


def _read_board(app: Flask) -> Batch | None:
    with app.app_context():
        return top10_cache.since(None)


def top10() -> CacheableBody:
    """Return the top 10, highest first, as the endpoint sends it. May block for a read."""
    return services().top10_cache.get()


def page(query: dict[str, str], token: str | None, known: Collection[str]) -> CacheableBody:
    """Return a page of the leaderboard: `entries`, `total`, and the cursor `next`.

    The body is None if its ETag is in `known`. Raises InvalidInput, and NotAuthenticated unless the
    board is public or the token may watch it. Blocks for the read.
    """
    _authorize(token)
    asked = page_query_schema.load(query)
    after = _last(asked)

    def tell() -> tuple[str, dict[str, Any]]:
        view, (entries, last) = _read(lambda view: leaderboard.page(view, asked["limit"], after))
        told = {"entries": ranks_schema.dump(entries), "total": view.total}
        return view.stamp, {**told, "next": last and _cursor_after(last)}

    return conditional_body(["page", asked], known, tell)


def neighbours(
    user_id: str, query: dict[str, str], token: str | None, known: Collection[str]
) -> CacheableBody:
    """Return a user's `entry`, the `entries` around and including it, and `total`.

    Otherwise as `page`. Raises NotFound if the user does not exist or is not on the board.
    """
    _authorize(token)
    asked = neighbours_query_schema.load({**query, "user_id": user_id})

    def tell() -> tuple[str, dict[str, Any]]:
        view, (entry, entries) = _read(
            lambda view: leaderboard.neighbours(view, asked["user_id"], asked["around"])
        )
        told = {"entry": ranked_schema.dump(entry), "entries": ranks_schema.dump(entries)}
        return view.stamp, {**told, "total": view.total}

    return conditional_body(["neighbours", asked], known, tell)


def _authorize(token: str | None) -> None:
    """Raise NotAuthenticated unless the board is public or the token may watch it."""
    if current_app.config["PUBLIC_BOARD"]:
        return
    if not tokens.authenticate(token).may("board:watch"):
        raise NotPermitted("This token may not watch the board.")


def conditional_body(
    asked: list[Any], known: Collection[str], tell: Callable[[], tuple[str, dict[str, Any]]]
) -> CacheableBody:
    """Return the body that `tell` reads and its ETag; no body if the ETag is in `known`.

    The ETag covers the query and the board's stamp: the body depends on nothing else.
    """
    if known:
        etag = _etag(database.read(leaderboard.stamp), asked)
        if etag in known:
            return CacheableBody(etag, None)
    stamp, body = tell()
    return CacheableBody(_etag(stamp, asked), dumps(body))


def _etag(stamp: str, asked: list[Any]) -> str:
    return etag_of(dumps([stamp, *asked]))


def _read(read: Callable[[View], Any]) -> tuple[View, Any]:
    view, found = services().leaderboard_reads.ask(read)
    return view, found


class LeaderboardReads:
    """Coalesces concurrent reads: they share one view of the board and its total."""

    def __init__(self) -> None:
        self._together = Coalescer[Callable[[View], Any], tuple[View, Any]](
            lambda reads: database.long_read(lambda connection: self._all(connection, reads)),
            MAX_BATCH_SIZE,
        )
        self._counted = ("", 0)  # the stamp, and the total at it
        self._middle = leaderboard.Middle()

    def ask(self, read: Callable[[View], Any]) -> tuple[View, Any]:
        """Return the view of the board, and the result of `read` on it. Blocks."""
        return self._together.run(read)

    def _all(
        self, connection: Connection, reads: Sequence[Callable[[View], Any]]
    ) -> list[tuple[View, Any] | Exception]:
        stamp = leaderboard.stamp(connection)
        if self._counted[0] != stamp:
            self._counted = stamp, leaderboard.total(connection)
        view = View(connection, *self._counted, self._middle)
        return [_outcome(read, view) for read in reads]


def _outcome(read: Callable[[View], Any], view: View) -> tuple[View, Any] | Exception:
    try:
        return view, read(view)
    except ScoreboardError as error:
        return error


def make_cursor(kind: str, content: Any) -> str:
    """Return this as a cursor of this kind: text for a URL, signed."""
    return str(URLSafeSerializer(current_app.config["SECRET_KEY"], kind).dumps(content))


def open_cursor(kind: str, asked: dict[str, Any]) -> Any:
    """Return what the cursor in a query says, None if there is none. Raises InvalidInput.

    The signature proves that this server wrote it, so forged ranks are never shown.
    """
    if asked["cursor"] is None:
        return None
    try:
        return URLSafeSerializer(current_app.config["SECRET_KEY"], kind).loads(asked["cursor"])
    except BadData:
        problem = {"cursor": ["Must be the `next` of an answer."]}
        raise InvalidInput("The cursor is not one of ours.", problem) from None


def _cursor_after(last: Last) -> str:
    score, reached_at, user_id = last.place
    place = [score, moment(reached_at), user_id]
    return make_cursor("page", [place, last.rank, last.position, last.stamp])


def _last(asked: dict[str, Any]) -> Last | None:
    content = open_cursor("page", asked)
    if content is None:
        return None
    (score, reached_at, user_id), *numbers = content
    return Last(Place(score, datetime.fromisoformat(reached_at), user_id), *numbers)
