"""Endpoints of pages of the leaderboard and of a user's neighbours."""

from typing import Any

from flask import Blueprint, Response

from ..boards.schemas import board_reference_schema
from ..http import request
from ..http.documented import Documented
from ..http.responses import conditional_response
from . import service
from .schemas import (
    board_neighbours_query_schema,
    board_neighbours_schema,
    board_page_query_schema,
    board_page_schema,
    board_top10_schema,
    neighbours_query_schema,
    neighbours_schema,
    page_query_schema,
    page_schema,
    season_query_schema,
)

bp = Blueprint("leaderboard", __name__, url_prefix="/api")
# A token is required only if the board is not public.
BOARD: dict[str, Any] = {
    "needs": "access",
    "optional": True,
    "may": ["board:watch"],
    "conditional": True,
}
NAMED: dict[str, Any] = {**BOARD, "path": board_reference_schema, "errors": ["unknown_board"]}


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


@bp.get("/boards/<board>/top10")
@Documented({200: board_top10_schema}, query=season_query_schema, **NAMED)
def board_top10(board: str) -> Response:
    """Return the top 10 of a board, of the current season or an earlier one."""
    return conditional_response(
        service.board_top10(board, request.query(), request.bearer_token(), request.known_etags())
    )


@bp.get("/boards/<board>/leaderboard")
@Documented({200: board_page_schema}, query=board_page_query_schema, **NAMED)
def board_page(board: str) -> Response:
    """Return a page of a board, or some of its users: those in `users`, or found by `query`."""
    return conditional_response(
        service.page(request.query(), request.bearer_token(), request.known_etags(), board)
    )


@bp.get("/boards/<board>/leaderboard/users/<user_id>")
@Documented(
    {200: board_neighbours_schema},
    query=board_neighbours_query_schema,
    **{**NAMED, "errors": ["unknown_board", "unknown_user", "not_ranked"]},
)
def board_neighbours(board: str, user_id: str) -> Response:
    """Return a user's entry on a board and the entries around it."""
    return conditional_response(
        service.neighbours(
            user_id, request.query(), request.bearer_token(), request.known_etags(), board
        )
    )
