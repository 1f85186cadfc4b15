"""Endpoints of updates, batches, the top 10, and a user's history."""

from typing import Any

from flask import Blueprint, Response

from ..http import request as requests
from ..http.documented import documented
from ..leaderboard import bp as leaderboard_bp
from ..leaderboard import service as leaderboard
from ..leaderboard.schemas import top10_schema
from . import past_scores as history
from . import submit as service
from .schemas import (
    batch_schema,
    history_query_schema,
    history_schema,
    receipt_schema,
    results_schema,
    update_schema,
)

bp = Blueprint("scores", __name__, url_prefix="/api/score")


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
    body = requests.long_json_body(service.MAX_BATCH_BYTES)
    return service.submit_all(body, requests.bearer_token(), requests.origin())


@bp.get("/top10")
@documented({200: top10_schema}, conditional=True)
def top10() -> Response:
    """Return the top 10. Public: no token is needed."""
    return requests.answer(leaderboard.top10())


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
        history.past_scores(
            user_id, requests.query(), requests.bearer_token(), requests.known_etags()
        )
    )
