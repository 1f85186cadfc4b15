"""The pages, and the files beside them under /web."""

from flask import Blueprint, Response

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


@bp.get("/admin")
def admin() -> Response:
    """Show the page for admins; what is on it comes from the endpoints, with an admin's token."""
    return page("admin.html")
