"""Routes of the web pages, and of their static files under /web."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import flask
import flask_swagger_ui
from flask import Response, request
from werkzeug.exceptions import HTTPException
from werkzeug.http import parse_date, parse_if_range_header

from ..apidocs import reference
from ..concurrency import runtime
from ..errors import NotFound
from ..http.request import query
from ..http.responses import http_error
from ..models import DEFAULT_TITLE, MAIN
from ..services import services
from . import join, theme

SWAGGER_UI = Path(flask_swagger_ui.__file__).parent / "dist"
# Same origin only and nothing inline: markup injected into a page can neither run code nor send
# data to another site.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)

ICON_SIZES = (180, 192, 512)
STAGE_COLOUR = "#171612"  # of tokens.css
PUBLIC_FILES = ("web.static", "web.embed", "web.theme_css")
# A logo may be an SVG: opened on its own, it must not run code on this origin.
LOGO_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"

bp = flask.Blueprint(
    "web", __name__, template_folder="templates", static_folder="static", static_url_path="/web"
)


@bp.get("/")
def board() -> Response:
    """Show a board live, `main` unless ?board= names another.

    With ?display=wall, show the page for a wall screen, which reads the other parameters itself.
    """
    parameters, config = query(), flask.current_app.config
    board_id = parameters.get("board") or MAIN
    if parameters.get("display") == "wall":
        scheme = "light" if parameters.get("theme") == "light" else "dark"
        has_name = config["BOARD_TITLE"] != DEFAULT_TITLE
        joining = {"joining": _joining(), "join_url": join.origin(request.host_url)}
        return _page("wall.html", board_id=board_id, scheme=scheme, has_name=has_name, **joining)
    has_mail = bool(config.get("SMTP_URL"))
    return _page("board.html", board_id=board_id, joining=_joining(), has_mail=has_mail)


@bp.get("/join.svg")
def join_svg() -> Response:
    """Serve the QR code of the link to join, with the code of the header Join-Code.

    The server does not add its own JOIN_CODE: everybody can read this picture. Raises NotFound if
    nobody can join.
    """
    if _joining() == "closed":
        raise NotFound("Only an admin can add players here.")
    link = join.link(join.origin(request.host_url), request.headers.get("Join-Code", ""))
    code = runtime.run_in_thread(join.qr_code, link)
    response = Response(code, mimetype="image/svg+xml")
    response.headers["Cache-Control"] = "no-store"
    return response


@bp.get("/admin")
def admin() -> Response:
    """Show the admin page, which loads its data from the API with an admin's token."""
    return _page("admin.html")


@bp.get("/docs")
def docs() -> Response:
    """Show the endpoints in Swagger UI, followed by the live messages and error codes."""
    values = {"live": services().api_documents.asyncapi(), "codes": reference.codes()}
    return _page("docs.html", **values, pretty=partial(json.dumps, indent=2))


@bp.get('/docs/ui/<any("swagger-ui.css", "swagger-ui-bundle.js"):file>')
def swagger_ui(file: str) -> Response:
    """Serve a file of the installed Swagger UI package."""
    return flask.send_from_directory(SWAGGER_UI, file)


@bp.get("/embed.js")
def embed() -> Response:
    """Serve the JavaScript module that embeds the board in other sites."""
    return bp.send_static_file("embed/embed.js")


@bp.get("/manifest.webmanifest")
def manifest() -> Response:
    """Serve the manifest with which phones put the board on their home screen."""
    title = flask.current_app.config["BOARD_TITLE"]
    icons = [
        {"src": _design(f"icon-{size}.png"), "sizes": f"{size}x{size}", "type": "image/png"}
        for size in ICON_SIZES
    ]
    colours = {"background_color": STAGE_COLOUR, "theme_color": STAGE_COLOUR}
    body = {"name": title, "short_name": title, "start_url": "/", "display": "standalone"}
    response = flask.jsonify({**body, **colours, "icons": icons})
    response.mimetype = "application/manifest+json"
    response.headers["Cache-Control"] = "no-cache"
    return response


@bp.get("/theme.css")
def theme_css() -> Response:
    """Serve the stylesheet with the accent colours of this installation."""
    sheet = theme.stylesheet(flask.current_app.config["BOARD_ACCENT"])
    response = Response(sheet, mimetype="text/css")
    response.headers["Cache-Control"] = "no-cache"
    response.add_etag()
    response.make_conditional(request)
    return response


@bp.get("/logo")
def logo() -> Response:
    """Serve the logo of this installation. Raises NotFound if it has none."""
    path = flask.current_app.config["BOARD_LOGO"]
    if not path:
        raise NotFound("This installation has no logo.")
    response = flask.send_file(path)
    response.headers["Content-Security-Policy"] = LOGO_POLICY
    return response


@bp.before_request
def drop_invalid_dates() -> None:
    """Ignore invalid dates (RFC 9110, section 13.1.3) for which Werkzeug raises OverflowError."""
    environ = request.environ
    try:
        parse_date(environ.get("HTTP_IF_MODIFIED_SINCE"))
        parse_if_range_header(environ.get("HTTP_IF_RANGE"))
    except OverflowError:
        for header in ("HTTP_IF_MODIFIED_SINCE", "HTTP_IF_RANGE", "HTTP_RANGE"):
            environ.pop(header, None)


@bp.after_request
def allow_cross_origin_files(response: Response) -> Response:
    """Allow pages of any origin to load these files: they are public code without user data."""
    if request.endpoint in PUBLIC_FILES:
        response.headers["Access-Control-Allow-Origin"] = "*"
    return response


@bp.app_errorhandler(404)
def not_found(error: HTTPException) -> Response:
    """Show a page to a person in a browser; a client of the API receives the error as JSON."""
    accept = request.accept_mimetypes
    is_person = accept.best_match(["application/json", "text/html"]) == "text/html"
    if not is_person or request.method != "GET" or request.path.startswith(("/api/", "/ws/")):
        return http_error(error)
    response = _page("not_found.html")
    response.status_code = 404
    return response


def _design(filename: str) -> str:
    return flask.url_for("web.static", filename=f"design/{filename}")


def _joining() -> str:
    """Return the setting JOINING: open, code or closed."""
    return flask.current_app.config["JOINING"]


def _page(template: str, **values: Any) -> Response:
    config = flask.current_app.config
    values = {**values, "title": config["BOARD_TITLE"], "has_logo": bool(config["BOARD_LOGO"])}
    response = flask.make_response(flask.render_template(template, **values))
    response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cache-Control"] = "no-cache"
    return response
