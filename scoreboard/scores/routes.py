"""HTTP endpoints of scores and of the leaderboard."""

from typing import Any

from flask import Blueprint, Response

from ..http import request as requests
from ..http.documented import documented
from ..leaderboard import service as showing
from . import submit as service
from .schemas import (
    batch_schema,
    history_query_schema,
    history_schema,
    neighbours_query_schema,
    neighbours_schema,
    page_query_schema,
    page_schema,
    receipt_schema,
    results_schema,
    top10_schema,
    update_schema,
)

bp = Blueprint("scores", __name__, url_prefix="/api/score")
leaderboard_bp = Blueprint("leaderboard", __name__, url_prefix="/api")
# A token is required only if the board is not public.
BOARD: dict[str, Any] = {
    "needs": "access",
    "optional": True,
    "may": ["board:watch"],
    "conditional": True,
}


@bp.post("/update")
@documented(
    {200: receipt_schema},
    body=update_schema,
    needs="access",
    may=["score:own", "score:any"],
    errors=["timestamp_in_future", "unknown_user", "replayed", "rate_limited"],
)
def update() -> dict[str, Any]:
    """Update a user's score.

    A player may update their own score, a scorer or an admin anyone's. An update that was accepted
    before is refused with `replayed` and changes nothing; the error has the first receipt.
    """
    return service.submit(requests.json_body(), requests.bearer_token(), requests.origin())


@bp.post("/batch")
@documented({200: results_schema}, body=batch_schema, needs="access", may=["score:any"])
def batch() -> dict[str, Any]:
    """Update many scores independently of each other. For game servers.

    Each update is handled as by `POST /api/score/update`: one refused update does not affect the
    others. The body has at most 256 KiB. If the response is lost, send the same batch again.
    """
    body = requests.long_json_body(service.LONGEST_BATCH)
    return service.submit_all(body, requests.bearer_token(), requests.origin())


@bp.get("/top10")
@documented({200: top10_schema}, conditional=True)
def top10() -> Response:
    """Return the top 10. Public: no token is needed."""
    return requests.answer(service.top10())


@leaderboard_bp.get("/leaderboard")
@documented({200: page_schema}, query=page_query_schema, **BOARD)
def page() -> Response:
    """Return a page of the leaderboard. Public unless PUBLIC_BOARD is 0."""
    return requests.answer(
        showing.page(requests.query(), requests.bearer_token(), requests.known_etags())
    )


@leaderboard_bp.get("/leaderboard/users/<user_id>")
@documented(
    {200: neighbours_schema},
    query=neighbours_query_schema,
    errors=["unknown_user", "not_ranked"],
    **BOARD,
)
def neighbours(user_id: str) -> Response:
    """Return a user's entry and the entries around it. Public unless PUBLIC_BOARD is 0."""
    return requests.answer(
        showing.neighbours(
            user_id, requests.query(), requests.bearer_token(), requests.known_etags()
        )
    )


@leaderboard_bp.get("/users/<user_id>/scores")
@documented(
    {200: history_schema},
    query=history_query_schema,
    needs="access",
    errors=["unknown_user", "not_permitted"],
    conditional=True,
)
def past_scores(user_id: str) -> Response:
    """Return a user's scores, newest first: your own, or anyone's as a scorer or an admin."""
    return requests.answer(
        showing.past_scores(
            user_id, requests.query(), requests.bearer_token(), requests.known_etags()
        )
    )
