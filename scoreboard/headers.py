"""The response headers about caching and content types that every response has."""

from collections.abc import Callable, Iterable
from typing import Any, cast

from flask import Flask

NOSNIFF = ("X-Content-Type-Options", "nosniff")
NO_STORE = ("Cache-Control", "no-store")
# Accounts, moderation, a user's history, and the sessions of Socket.IO.
PRIVATE = ("/api/auth/", "/api/admin/", "/api/users/", "/ws/")


def init_app(app: Flask) -> None:
    """Add the headers to every response of the application, also to those without Flask.

    `X-Content-Type-Options: nosniff` is on all. `Cache-Control: no-store` is on those of the
    PRIVATE paths, and on those to a request with an Authorization header; but a public board
    keeps its own Cache-Control and ETag for every reader.
    """
    inner, board_is_public = cast(Any, app.wsgi_app), app.config["PUBLIC_BOARD"]

    def respond(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        is_private = environ.get("PATH_INFO", "").startswith(PRIVATE)
        has_token = "HTTP_AUTHORIZATION" in environ

        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            headers = [*headers, NOSNIFF]
            if is_private or has_token:
                others = [each for each in headers if each[0].lower() != "cache-control"]
                if is_private or not board_is_public or len(others) == len(headers):
                    headers = [*others, NO_STORE]
            return start_response(status, headers, *rest)

        answer: Iterable[bytes] = inner(environ, start)
        return answer

    app.wsgi_app = respond  # type: ignore[method-assign]
