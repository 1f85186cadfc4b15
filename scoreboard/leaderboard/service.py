"""Reads of the leaderboard: who may see it, and the ETags of the responses."""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Any

from flask import Flask, current_app
from itsdangerous import BadData, URLSafeSerializer
from sqlalchemy import Connection

from ..auth import tokens
from ..concurrency.coalescer import Together
from ..db import transactions as database
from ..errors import InvalidInput, NotPermitted, ScoreboardError
from ..http.etags import Told, etag_of
from ..http.fields import moment
from ..http.json import dumps
from . import ranking as leaderboard
from . import top10 as top10_cache
from .batch import Batch
from .ranking import Last, Place, View
from .schemas import neighbours_query_schema, page_query_schema, ranked_schema, ranks_schema

# Reads that share a transaction: with more, those that count little wait for those that count much.
MOST_TOGETHER = 10


def init_app(app: Flask) -> None:
    """Give the application its reads of the leaderboard."""
    app.extensions["reads"] = _Reads()
    app.extensions["top10_cache"] = top10_cache.Top10Cache(lambda: _read_board(app))


def _read_board(app: Flask) -> Batch | None:
    with app.app_context():
        return top10_cache.since(None)


def top10() -> Told:
    """Return the top 10, highest first, as the endpoint sends it. May block for a read."""
    content: Told = current_app.extensions["top10_cache"].get()
    return content


def page(query: dict[str, str], token: str | None, known: Collection[str]) -> Told:
    """Return a page of the leaderboard: `entries`, the `total`, and the cursor of the `next`.

    There is no body if its ETag is among those `known`. Raises InvalidInput, and NotAuthenticated
    if the board is not public.
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
) -> Told:
    """Return a user's `entry`, the `entries` around it with it among them, and the `total`.

    Otherwise as `page`. Raises NotFound if there is no such user, or it is not on the board.
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
    """Raise NotAuthenticated unless this may see the board: with a public one, anything may."""
    if current_app.config["PUBLIC_BOARD"]:
        return
    if not tokens.authenticate(token).may("board:watch"):
        raise NotPermitted("This token may not watch the board.")


def conditional_body(
    asked: list[Any], known: Collection[str], tell: Callable[[], tuple[str, dict[str, Any]]]
) -> Told:
    """Return what is told, with the stamp it was read at, and its ETag.

    What these endpoints answer depends on what was asked and on the board's version alone.
    """
    if known:
        etag = _etag(database.read(leaderboard.stamp), asked)
        if etag in known:
            return Told(etag, None)
    stamp, body = tell()
    return Told(_etag(stamp, asked), dumps(body))


def _etag(stamp: str, asked: list[Any]) -> str:
    return etag_of(dumps([stamp, *asked]))


def _read(read: Callable[[View], Any]) -> tuple[View, Any]:
    view, found = current_app.extensions["reads"].ask(read)
    return view, found


class _Reads:
    """Reads of the board: those that come at the same time see the same, and count it once."""

    def __init__(self) -> None:
        self._together = Together[Callable[[View], Any], tuple[View, Any]](
            lambda reads: database.long_read(lambda connection: self._all(connection, reads)),
            MOST_TOGETHER,
        )
        self._counted = ("", 0)  # the stamp, and the total at it
        self._middle = leaderboard.Middle()

    def ask(self, read: Callable[[View], Any]) -> tuple[View, Any]:
        """Return the view of the board, and what `read` finds in it."""
        return self._together.ask(read)

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

    Signed by us, it is what we wrote: ranks that somebody made up are not shown to anyone.
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
