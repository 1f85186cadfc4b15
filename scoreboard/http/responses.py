"""Create responses for errors and JSON bodies, in Flask and in the middleware before it."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, jsonify, request
from flask_limiter import RateLimitExceeded
from werkzeug.exceptions import HTTPException

from ..errors import RateLimited, ScoreboardError, translate
from .etags import CacheableBody, headers, is_known
from .json import dumps


def init_app(app: Flask) -> None:
    """Register handlers that send every error of this application in the one JSON form."""
    app.register_error_handler(ScoreboardError, _response)
    app.register_error_handler(RateLimitExceeded, _limited)
    app.register_error_handler(HTTPException, http_error)
    app.register_error_handler(Exception, lambda error: _response(translate(error)))


def _response(error: ScoreboardError) -> Response:
    response = jsonify(error.body())
    response.status_code = error.status
    response.headers.update(error.headers())
    return response


def conditional_response(content: CacheableBody) -> Response:
    """Return the response with this body and ETag; 304 if the client has a current copy."""
    if content.body is None or is_known(content.etag, request.environ):
        response = Response(status=304)
    else:
        response = Response(content.body, mimetype="application/json")
    response.headers.update(headers(content.etag))
    return response


def refuse(error: ScoreboardError, start_response: Any) -> list[bytes]:
    """Start a WSGI response with this error and return its body, without Flask."""
    return respond(error.status, dumps(error.body()), start_response, error.headers())


def respond(
    status: int, body: bytes, start_response: Any, extra_headers: Mapping[str, str] | None = None
) -> list[bytes]:
    """Start a WSGI response with this JSON and return its body, without Flask."""
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
    line = f"{status} {HTTPStatus(status).phrase}"
    start_response(line, list({**headers, **(extra_headers or {})}.items()))
    return [body]


def _limited(error: RateLimitExceeded) -> Response:
    # At most the whole period; the auth limits are coarse on purpose.
    return _response(RateLimited(error.limit.limit.get_expiry() if error.limit else 60))


def http_error(error: HTTPException) -> Response:
    """Return a response in our form for an error of Flask (unknown path, wrong method, ...)."""
    if error.code is None or error.code >= 500:
        return _response(translate(error))
    refusal = ScoreboardError(error.description or error.name, error.name.lower().replace(" ", "_"))
    refusal.status = error.code
    response = _response(refusal)
    if allowed := dict(error.get_headers()).get("Allow"):
        response.headers["Allow"] = allowed
    return response
