"""The auth endpoints. Limits per address guard those that give out accounts and tokens."""

from typing import Any

from flask import Blueprint, Response, current_app, request

from ..extensions import limiter
from ..http import request as requests
from ..http.documented import documented
from . import service
from .schemas import (
    account_schema,
    login_schema,
    register_schema,
    tokens_schema,
    viewer_token_schema,
)

bp = Blueprint("auth", __name__, url_prefix="/api/auth")
auth_limit = limiter.limit(lambda: current_app.config["AUTH_RATE_LIMIT"])
viewer_limit = limiter.limit(lambda: current_app.config["VIEWER_RATE_LIMIT"])


@bp.after_request
def close_after_refusal(response: Response) -> Response:
    """Ask the server to close the connection after a refused sign-in or registration.

    So that each guess takes a connection, which the server limits by address.
    """
    if response.status_code >= 400 and request.endpoint in ("auth.login", "auth.register"):
        response.headers["Connection"] = "close"
    return response


@bp.post("/register")
@auth_limit
@documented(
    {201: account_schema},
    body=register_schema,
    errors=["name_reserved", "username_taken", "email_taken", "rate_limited", "overloaded"],
)
def register() -> tuple[dict[str, Any], int]:
    """Create an account; its role is player."""
    return account_schema.dump(service.register(requests.json_body(), requests.origin())), 201


@bp.post("/login")
@auth_limit
@documented(
    {200: tokens_schema},
    body=login_schema,
    errors=["wrong_credentials", "account_suspended", "rate_limited", "overloaded"],
)
def login() -> dict[str, Any]:
    """Sign in with name and password."""
    return service.login(requests.json_body(), requests.origin())


@bp.post("/refresh")
@auth_limit
@documented({200: tokens_schema}, needs="refresh", errors=["token_reused", "rate_limited"])
def refresh() -> dict[str, Any]:
    """Exchange a refresh token, sent as the Bearer token, for a new pair.

    Within 30 s the old one may be used again, as when the answer was lost, for another pair of
    the same sign-in. To use it later ends the sign-in.
    """
    return service.refresh(requests.bearer_token(), requests.origin())


@bp.post("/logout")
@documented({204: None}, needs="access or refresh")
def logout() -> tuple[str, int]:
    """End this sign-in: its access and refresh tokens are refused from now on.

    Takes either of them, so that a sign-in whose access token has expired can be ended too.
    """
    service.logout(requests.bearer_token(), requests.origin())
    return "", 204


@bp.get("/me")
@documented({200: account_schema}, needs="access", errors=["not_permitted"])
def me() -> dict[str, Any]:
    """Show the account whose token this is."""
    return account_schema.dump(service.me(requests.bearer_token()))


@bp.post("/viewer")
@viewer_limit
@documented({200: viewer_token_schema}, errors=["board_not_public", "rate_limited"])
def viewer() -> dict[str, Any]:
    """Hand out a read-only token to anyone who shows the board."""
    return service.viewer()
