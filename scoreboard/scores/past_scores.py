"""A page of a user's accepted updates: who may see it, and its ETag."""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection

from ..auth import tokens
from ..db import transactions as database
from ..errors import NotPermitted
from ..http.etags import CacheableBody
from ..leaderboard import ranking
from ..leaderboard.service import conditional_body, make_cursor, open_cursor
from . import history
from .schemas import history_query_schema, past_scores_schema


def past_scores(
    user_id: str, query: dict[str, str], token: str | None, known: Collection[str]
) -> CacheableBody:
    """Return a page of a user's `scores`, newest first, and the cursor `next`.

    Otherwise as `page`, but requires the user's own token or one that may update anyone's score.
    Raises NotFound if the user does not exist.
    """
    caller = tokens.authenticate(token)
    asked = history_query_schema.load({**query, "user_id": user_id})
    whose, limit = asked["user_id"], asked["limit"]
    if not caller.may_see_history(whose):
        raise NotPermitted("This token may not see that user's scores.")
    before = open_cursor("scores", asked)

    def read(connection: Connection) -> tuple[str, Sequence[Any]]:
        ranking.check_user(connection, whose)
        return ranking.stamp(connection), history.newest(connection, whose, limit + 1, before)

    def tell() -> tuple[str, dict[str, Any]]:
        stamp, found = database.read(read)
        more = len(found) > limit
        following = make_cursor("scores", found[limit - 1].score_id) if more else None
        return stamp, {"scores": past_scores_schema.dump(found[:limit]), "next": following}

    return conditional_body(["scores", asked], known, tell)
