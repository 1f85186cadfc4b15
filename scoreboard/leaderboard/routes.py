"""Endpoints of pages of the leaderboard and of a user's neighbours."""

from typing import Any

from flask import Blueprint, Response

from ..http import request
from ..http.documented import Documented
from ..http.responses import conditional_response
from . import service
from .schemas import (
    neighbours_query_schema,
    neighbours_schema,
    page_query_schema,
    page_schema,
)

bp = Blueprint("leaderboard", __name__, url_prefix="/api")
# A token is required only if the board is not public.
BOARD: dict[str, Any] = {
    "needs": "access",
    "optional": True,
    "may": ["board:watch"],
    "conditional": True,
}


@bp.get("/leaderboard")
@Documented({200: page_schema}, query=page_query_schema, **BOARD)
def page() -> Response:
    """Return a page of the leaderboard. Public unless PUBLIC_BOARD is 0."""
    return conditional_response(
        service.page(request.query(), request.bearer_token(), request.known_etags())
    )


@bp.get("/leaderboard/users/<user_id>")
@Documented(
    {200: neighbours_schema},
    query=neighbours_query_schema,
    errors=["unknown_user", "not_ranked"],
    **BOARD,
)
def neighbours(user_id: str) -> Response:
    """Return a user's entry and the entries around it. Public unless PUBLIC_BOARD is 0."""
    return conditional_response(
        service.neighbours(user_id, request.query(), request.bearer_token(), request.known_etags())
    )
