"""The auth endpoints. Those that issue accounts or tokens are rate limited per address."""

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
def close_after_failed_sign_in(response: Response) -> Response:
    """Make the server close the connection after a failed sign-in or registration.

    Each guess then needs a new connection, and the server limits connections per address.
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
    """Create an account with the role `player`."""
    return account_schema.dump(service.register(requests.json_body(), requests.origin())), 201


@bp.post("/login")
@auth_limit
@documented(
    {200: tokens_schema},
    body=login_schema,
    errors=["wrong_credentials", "account_suspended", "rate_limited", "overloaded"],
)
def login() -> dict[str, Any]:
    """Sign in with a username and password."""
    return service.login(requests.json_body(), requests.origin())


@bp.post("/refresh")
@auth_limit
@documented({200: tokens_schema}, needs="refresh", errors=["token_reused", "rate_limited"])
def refresh() -> dict[str, Any]:
    """Exchange a refresh token, sent as the Bearer token, for a new pair.

    Within 30 s the old token can be used again, for example if the response was lost, and
    returns another pair of the same sign-in. Using it later ends the sign-in.
    """
    return service.refresh(requests.bearer_token(), requests.origin())


@bp.post("/logout")
@documented({204: None}, needs="access or refresh")
def logout() -> tuple[str, int]:
    """End this sign-in: revoke its access and refresh tokens.

    Accepts either token, so that a sign-in with an expired access token can be ended too.
    """
    service.logout(requests.bearer_token(), requests.origin())
    return "", 204


@bp.get("/me")
@documented({200: account_schema}, needs="access", errors=["not_permitted"])
def me() -> dict[str, Any]:
    """Return the account that this token belongs to."""
    return account_schema.dump(service.me(requests.bearer_token()))


@bp.post("/viewer")
@viewer_limit
@documented({200: viewer_token_schema}, errors=["board_not_public", "rate_limited"])
def viewer() -> dict[str, Any]:
    """Issue a read-only token for a public board. Needs no sign-in."""
    return service.viewer()
