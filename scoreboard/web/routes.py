"""The pages, and the files beside them under /web."""

import json
from functools import partial
from pathlib import Path

import flask_swagger_ui
from flask import Blueprint, Response, current_app, request, send_from_directory
from werkzeug.http import parse_date, parse_if_range_header

from ..apidocs import asyncapi, reference
from ..http import request as requests
from .pages import page

SWAGGER_UI = Path(flask_swagger_ui.__file__).parent / "dist"

bp = Blueprint(
    "web",
    __name__,
    template_folder="templates",
    static_folder="static",
    static_url_path="/web",
)


@bp.get("/")
def board() -> Response:
    """Show the live board; with ?display=wall nothing but it, large."""
    wall = requests.query().get("display") == "wall"
    return page("board.html", wall=wall, demo=current_app.config["DEMO"])


@bp.get("/admin")
def admin() -> Response:
    """Show the page for admins; what is on it comes from the endpoints, with an admin's token."""
    return page("admin.html")


@bp.get("/docs")
def docs() -> Response:
    """Show every endpoint in Swagger UI, and the live messages and error codes below it."""
    values = {"live": asyncapi.of(current_app), "codes": reference.codes()}
    return page("docs.html", **values, pretty=partial(json.dumps, indent=2))


@bp.get('/docs/ui/<any("swagger-ui.css", "swagger-ui-bundle.js"):file>')
def swagger_ui(file: str) -> Response:
    """Serve a file of the installed package of Swagger UI."""
    return send_from_directory(SWAGGER_UI, file)


@bp.get("/embed.js")
def embed() -> Response:
    """Serve the module that puts the board on somebody else's page."""
    return bp.send_static_file("embed/embed.js")


@bp.before_request
def take_no_date_beyond_all_calendars() -> None:
    """Ignore dates that are none, as RFC 9110, section 13.1.3, has it; at some, Werkzeug fails."""
    given = request.environ
    try:
        parse_date(given.get("HTTP_IF_MODIFIED_SINCE"))
        parse_if_range_header(given.get("HTTP_IF_RANGE"))
    except OverflowError:
        for header in ("HTTP_IF_MODIFIED_SINCE", "HTTP_IF_RANGE", "HTTP_RANGE"):
            given.pop(header, None)


@bp.after_request
def let_every_website_read_files(response: Response) -> Response:
    """Let modules be loaded from pages of any origin: they are public code, and nobody's data."""
    if request.endpoint in ("web.static", "web.embed"):
        response.headers["Access-Control-Allow-Origin"] = "*"
    return response
