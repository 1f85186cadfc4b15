"""The short way in: the two requests that come by the hundred, in front of Flask.

Finding the route, opening the context of a request and making a response of what it returns is
more than half of what such a request costs, and none of it is needed here. What is not plain (a
page of another origin, a body in chunks) goes on to the routes, which answer the same.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any

from flask import Flask

from .. import requests
from ..conditional import headers, is_known
from ..errors import refuse, respond, translate
from ..json_provider import dumps
from . import service

# Python makes no number of thousands of digits.
LENGTH = re.compile(r"[0-9]{1,9}", re.ASCII)


def init_app(app: Flask) -> None:
    """Take the plain requests for the top 10 and to update a score before Flask does."""
    app.wsgi_app = _Door(app)  # type: ignore[method-assign]


class _Door:
    def __init__(self, app: Flask) -> None:
        self._app = app
        self._inner = app.wsgi_app
        self._longest = app.config["MAX_CONTENT_LENGTH"]
        self._ways: dict[tuple[str, str], Callable[[dict[str, Any], Any], Iterable[bytes]]] = {
            ("GET", "/api/score/top10"): self._top10,
            ("POST", "/api/score/update"): self._update,
        }

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        way = self._ways.get((environ["REQUEST_METHOD"], environ.get("PATH_INFO", "")))
        if way is None or not self._is_plain(environ):
            return self._inner(environ, start_response)
        try:
            with self._app.app_context():
                return way(environ, start_response)
        except Exception as error:
            return refuse(translate(error), start_response)

    def _is_plain(self, environ: dict[str, Any]) -> bool:
        length = environ.get("CONTENT_LENGTH") or "0"
        return (
            "HTTP_ORIGIN" not in environ
            and "HTTP_TRANSFER_ENCODING" not in environ
            and LENGTH.fullmatch(length) is not None
            and int(length) <= self._longest
        )

    def _top10(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        told = service.top10()
        if told.body is None or is_known(told.etag, environ):
            start_response("304 Not Modified", list(headers(told.etag).items()))
            return []
        return respond(200, told.body, start_response, headers(told.etag))

    def _update(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        receipt = service.submit(
            requests.plain_json_body(environ),
            requests.token_of(environ),
            requests.origin_of(environ),
        )
        return respond(200, dumps(receipt), start_response)
