"""The pages, and the files beside them under /web."""

from flask import Blueprint, Response, current_app

from ..docs.page import content
from .pages import page

bp = Blueprint(
    "web",
    __name__,
    template_folder="templates",
    static_folder="static",
    static_url_path="/web",
)


@bp.get("/")
def board() -> Response:
    """Show the live board."""
    return page("board.html")


@bp.get("/docs")
def docs() -> Response:
    """Show the documentation of every endpoint, live message and error code."""
    return page("docs.html", **content(current_app))
