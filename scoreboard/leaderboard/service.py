"""Reads the leaderboard and a user's history: permissions, cursors and ETags."""

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
from ..scores import history
from ..scores.schemas import (
    history_query_schema,
    neighbours_query_schema,
    page_query_schema,
    past_scores_schema,
    ranked_schema,
    ranks_schema,
)
from . import ranking as leaderboard
from .ranking import Last, Place, View

# Reads per transaction: with more, cheap reads would wait for those that count many rows.
MOST_TOGETHER = 10


def init_app(app: Flask) -> None:
    """Create the application's coalescer of leaderboard reads."""
    app.extensions["reads"] = _Reads()


def page(query: dict[str, str], token: str | None, known: Collection[str]) -> Told:
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

    return _tell(["page", asked], known, tell)


def neighbours(
    user_id: str, query: dict[str, str], token: str | None, known: Collection[str]
) -> Told:
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

    return _tell(["neighbours", asked], known, tell)


def past_scores(
    user_id: str, query: dict[str, str], token: str | None, known: Collection[str]
) -> Told:
    """Return a page of a user's `scores`, newest first, and the cursor `next`.

    Otherwise as `page`, but requires the user's own token or one that may update anyone's score.
    Raises NotFound if the user does not exist.
    """
    caller = tokens.authenticate(token)
    asked = history_query_schema.load({**query, "user_id": user_id})
    whose, limit = asked["user_id"], asked["limit"]
    if not caller.may_see_history(whose):
        raise NotPermitted("This token may not see that user's scores.")
    before = _opened("scores", asked)

    def read(connection: Connection) -> tuple[str, Sequence[Any]]:
        leaderboard.check_user(connection, whose)
        return leaderboard.stamp(connection), history.newest(connection, whose, limit + 1, before)

    def tell() -> tuple[str, dict[str, Any]]:
        stamp, found = database.read(read)
        more = len(found) > limit
        following = _cursor("scores", found[limit - 1].score_id) if more else None
        return stamp, {"scores": past_scores_schema.dump(found[:limit]), "next": following}

    return _tell(["scores", asked], known, tell)


def _authorize(token: str | None) -> None:
    """Raise NotAuthenticated unless the board is public or the token may watch it."""
    if current_app.config["PUBLIC_BOARD"]:
        return
    if not tokens.authenticate(token).may("board:watch"):
        raise NotPermitted("This token may not watch the board.")


def _tell(
    asked: list[Any], known: Collection[str], tell: Callable[[], tuple[str, dict[str, Any]]]
) -> Told:
    """Return the body that `tell` reads and its ETag; no body if the ETag is in `known`.

    The ETag covers the query and the board's stamp: the body depends on nothing else.
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
    """Coalesces concurrent reads: they share one view of the board and its total."""

    def __init__(self) -> None:
        self._together = Together[Callable[[View], Any], tuple[View, Any]](
            lambda reads: database.long_read(lambda connection: self._all(connection, reads)),
            MOST_TOGETHER,
        )
        self._counted = ("", 0)  # the stamp, and the total at it
        self._middle = leaderboard.Middle()

    def ask(self, read: Callable[[View], Any]) -> tuple[View, Any]:
        """Return the view of the board, and the result of `read` on it. Blocks."""
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


def _cursor(kind: str, content: Any) -> str:
    """Return the content as a cursor of this kind: signed text, safe in a URL."""
    return str(URLSafeSerializer(current_app.config["SECRET_KEY"], kind).dumps(content))


def _opened(kind: str, asked: dict[str, Any]) -> Any:
    """Return the content of a query's cursor, None if there is none. Raises InvalidInput.

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
    return _cursor("page", [place, last.rank, last.position, last.stamp])


def _last(asked: dict[str, Any]) -> Last | None:
    content = _opened("page", asked)
    if content is None:
        return None
    (score, reached_at, user_id), *numbers = content
    return Last(Place(score, datetime.fromisoformat(reached_at), user_id), *numbers)
