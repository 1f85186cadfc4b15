"""Endpoints of boards and seasons; those of their lists are in `leaderboard/routes.py`."""

from typing import Any

from flask import Blueprint

from ..http.documented import Documented
from ..http.request import bearer_token, query
from . import service
from .schemas import (
    board_object_schema,
    board_reference_schema,
    boards_schema,
    live_query_schema,
    seasons_schema,
)

bp = Blueprint("boards", __name__, url_prefix="/api/boards")
# A token is required only if the board is not public.
READ: dict[str, Any] = {"needs": "access", "optional": True, "may": ["board:watch"]}
OF_BOARD: dict[str, Any] = {**READ, "path": board_reference_schema, "errors": ["unknown_board"]}


@bp.get("")
@Documented({200: boards_schema}, query=live_query_schema, **READ)
def boards() -> dict[str, Any]:
    """List the boards that you may read, `main` first."""
    return {"boards": service.all_boards(bearer_token(), query())}


@bp.get("/<board>")
@Documented({200: board_object_schema}, query=live_query_schema, **OF_BOARD)
def board(board: str) -> dict[str, Any]:
    """Return a board: its rules, its state, its season, and how many users are on it."""
    return service.board(board, bearer_token(), query())


@bp.get("/<board>/seasons")
@Documented({200: seasons_schema}, query=live_query_schema, **OF_BOARD)
def seasons(board: str) -> dict[str, Any]:
    """List the seasons of a board, the newest first."""
    return {"seasons": service.seasons(board, bearer_token(), query())}
