"""The HTTP door of the scores."""

from typing import Any

from flask import Blueprint, Response

from .. import requests
from . import service, showing

bp = Blueprint("scores", __name__, url_prefix="/api/score")
leaderboard_bp = Blueprint("leaderboard", __name__, url_prefix="/api")


@bp.post("/update")
def update() -> dict[str, Any]:
    """Update a user's score."""
    return service.submit(requests.json_body(), requests.bearer_token(), requests.origin())


@bp.post("/batch")
def batch() -> dict[str, Any]:
    """Update many scores, each on its own. For game servers."""
    body = requests.long_json_body(service.LONGEST_BATCH)
    return service.submit_all(body, requests.bearer_token(), requests.origin())


@bp.get("/top10")
def top10() -> Response:
    """Show the top 10. Public: no token is asked for."""
    return requests.answer(service.top10())


@leaderboard_bp.get("/leaderboard")
def page() -> Response:
    """Show a page of the leaderboard. Public unless PUBLIC_BOARD is 0."""
    return requests.answer(
        showing.page(requests.query(), requests.bearer_token(), requests.known_etags())
    )


@leaderboard_bp.get("/leaderboard/users/<user_id>")
def neighbours(user_id: str) -> Response:
    """Show where a user stands, and who stands around. Public unless PUBLIC_BOARD is 0."""
    return requests.answer(
        showing.neighbours(
            user_id, requests.query(), requests.bearer_token(), requests.known_etags()
        )
    )


@leaderboard_bp.get("/users/<user_id>/scores")
def past_scores(user_id: str) -> Response:
    """Show a user's scores, newest first: one's own, or with the right role anyone's."""
    return requests.answer(
        showing.past_scores(
            user_id, requests.query(), requests.bearer_token(), requests.known_etags()
        )
    )
