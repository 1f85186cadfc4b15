"""Endpoints of updates, batches, the top 10, and a user's history."""

from typing import Any

from flask import Blueprint, Response, current_app

from .. import leaderboard
from ..http import request
from ..http.documented import Documented
from ..http.responses import conditional_response
from ..leaderboard.schemas import top10_schema
from ..services import services
from . import history, schemas, submit

bp = Blueprint("scores", __name__, url_prefix="/api/score")


@bp.post("/update")
@Documented(
    {200: schemas.receipt_schema},
    body=schemas.update_schema,
    needs="access",
    may=["score:own", "score:any"],
    errors=[
        *("timestamp_in_future", "unknown_user", "replayed", "rate_limited", "score_out_of_range"),
        *("unknown_board", "board_derived", "board_closed", "season_over"),
        *("ticket_required", "ticket_used", "ticket_too_young", "ticket_expired"),
    ],
)
def update() -> dict[str, Any]:
    """Update a user's score.

    A player may update their own score, a scorer or an admin anyone's. An update that was accepted
    before is refused with `replayed` and changes nothing; the error has the first receipt.
    """
    return submit.submit(request.json_body(), request.bearer_token(), request.client_info())


@bp.post("/ticket")
@Documented(
    {201: schemas.ticket_schema},
    body=schemas.ticket_request_schema,
    needs="access",
    may=["score:own", "score:any"],
    errors=["unknown_board", "board_derived", "rate_limited"],
)
def ticket() -> tuple[dict[str, Any], int]:
    """Issue a run ticket to the caller, when a run starts.

    If the board has `tickets`, a player sends it with the update of that run. A ticket is good for
    one update of this user on this board.
    """
    return submit.issue_ticket(request.json_body(), request.bearer_token()), 201


@bp.post("/batch")
@Documented(
    {200: schemas.results_schema}, body=schemas.batch_schema, needs="access", may=["score:any"]
)
def batch() -> dict[str, Any]:
    """Update many scores independently of each other. For game servers.

    Each update is handled as by `POST /api/score/update`: a refused update does not affect the
    rest. The body has at most 256 KiB. If the response is lost, send the same batch again.
    """
    body = request.long_json_body(current_app.config["MAX_BATCH_CONTENT_LENGTH"])
    return submit.submit_all(body, request.bearer_token(), request.client_info())


@bp.get("/top10")
@Documented({200: top10_schema}, conditional=True)
def top10() -> Response:
    """Return the top 10. Public: no token is needed."""
    return conditional_response(services().top10_cache.get())


@leaderboard.bp.get("/users/<user_id>/scores")
@Documented(
    {200: schemas.history_schema},
    query=schemas.history_query_schema,
    needs="access",
    errors=["unknown_user", "not_permitted", "unknown_board", "board_derived"],
    conditional=True,
)
def past_scores(user_id: str) -> Response:
    """Return a user's scores, newest first: your own, or anyone's as a scorer or an admin."""
    return conditional_response(
        history.page(user_id, request.query(), request.bearer_token(), request.known_etags())
    )
