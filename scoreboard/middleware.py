"""WSGI middleware around Flask: one list, in the order in which a request passes through it."""

from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from .http.request import client_address
from .realtime.websocket.endpoint import WebSocketMiddleware
from .scores import fast_path
from .services import services

FORWARDED = ("HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_HOST", "HTTP_X_FORWARDED_PROTO")
NOSNIFF = ("X-Content-Type-Options", "nosniff")
NO_STORE = ("Cache-Control", "no-store")
# Accounts, moderation, users' histories and Socket.IO sessions.
PRIVATE = ("/api/auth/", "/api/admin/", "/api/users/", "/ws/")
Wrap = Callable[[Flask, WSGIApplication], WSGIApplication]


def init_app(app: Flask) -> None:
    """Wrap the application in the middleware; the first of the list is the outermost."""
    wrapped: WSGIApplication = app.wsgi_app
    for wrap in reversed(MIDDLEWARE):
        wrapped = wrap(app, wrapped)
    app.wsgi_app = wrapped  # type: ignore[method-assign, assignment]


def forwarded(app: Flask, inner: WSGIApplication) -> WSGIApplication:
    """Apply the X-Forwarded headers of TRUSTED_PROXIES proxies, then remove them.

    Then REMOTE_ADDR is a bare address, and Engine.IO, which would trust the headers from any
    client, never gets them. Also removes cookies: nothing reads them, and Werkzeug takes seconds
    to parse some.
    """
    proxies = app.config["TRUSTED_PROXIES"]

    def remove(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ.pop("HTTP_COOKIE", None)
        for header in FORWARDED:
            environ.pop(header, None)
        if proxies:
            # A forwarded value that is not an address (`unknown`, `_hidden`) counts as the proxy:
            # otherwise each value would be a new client and evade the limits.
            proxy = environ["werkzeug.proxy_fix.orig"]["REMOTE_ADDR"] or "unknown"
            client = environ.get("REMOTE_ADDR") or proxy
            environ["REMOTE_ADDR"] = client_address(client) or client_address(proxy) or proxy
        return inner(environ, start_response)

    if not proxies:
        return remove
    fix = ProxyFix(remove, x_for=proxies, x_proto=proxies, x_host=proxies)

    def unquote(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        # Werkzeug discards a whole list for one unclosed quote; addresses and hosts have none.
        for header in FORWARDED:
            if value := environ.get(header):
                environ[header] = value.replace('"', "").replace("\\", "")
        return fix(environ, start_response)

    return unquote


def headers(app: Flask, inner: WSGIApplication) -> WSGIApplication:
    """Add `X-Content-Type-Options: nosniff` to every response, and no-store to private ones.

    Responses are private for PRIVATE paths and for requests with an Authorization header. A public
    board, however, keeps its own Cache-Control and ETag for every client.
    """
    board_is_public = app.config["PUBLIC_BOARD"]

    def add_headers(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        is_private = environ["PATH_INFO"].startswith(PRIVATE)
        has_token = "HTTP_AUTHORIZATION" in environ

        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            headers = [*headers, NOSNIFF]
            if is_private or has_token:
                kept = [header for header in headers if header[0].lower() != "cache-control"]
                if is_private or not board_is_public or len(kept) == len(headers):
                    headers = [*kept, NO_STORE]
            return start_response(status, headers, *rest)

        return inner(environ, start)

    return add_headers


def origins(app: Flask, inner: WSGIApplication) -> WSGIApplication:
    """Remove the Origin header of requests whose origin `AllowedOrigins` does not allow.

    Flask-CORS and Engine.IO then send CORS headers to all remaining origins.
    """
    allowed = services(app).origins

    def remove(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if "HTTP_ORIGIN" in environ and not allowed.allows(environ):
            del environ["HTTP_ORIGIN"]
        return inner(environ, start_response)

    return remove


MIDDLEWARE: list[Wrap] = [forwarded, headers, WebSocketMiddleware, fast_path.middleware, origins]
