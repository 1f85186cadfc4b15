"""The auth endpoints. Those that issue accounts or tokens are rate limited per address."""

from typing import Any, cast

from flask import Blueprint, Flask, Response, request
from flask.blueprints import BlueprintSetupState

from ..http import request as requests
from ..http.documented import documented
from ..services import services
from . import service
from .schemas import (
    account_schema,
    login_schema,
    register_schema,
    tokens_schema,
    viewer_token_schema,
)

bp = Blueprint("auth", __name__, url_prefix="/api/auth")
# Settings with the rate limits per address, by view.
LIMITS = {
    "register": "AUTH_RATE_LIMIT",
    "login": "AUTH_RATE_LIMIT",
    "refresh": "AUTH_RATE_LIMIT",
    "viewer": "VIEWER_RATE_LIMIT",
}


@bp.after_request
def close_after_failed_sign_in(response: Response) -> Response:
    """Make the server close the connection after a failed sign-in or registration.

    Each guess then needs a new connection, and the server limits connections per address.
    """
    if response.status_code >= 400 and request.endpoint in ("auth.login", "auth.register"):
        response.headers["Connection"] = "close"
    return response


@bp.post("/register")
@documented(
    {201: account_schema},
    body=register_schema,
    errors=["name_reserved", "username_taken", "email_taken", "rate_limited", "overloaded"],
)
def register() -> tuple[dict[str, Any], int]:
    """Create an account with the role `player`."""
    return account_schema.dump(service.register(requests.json_body(), requests.origin())), 201


@bp.post("/login")
@documented(
    {200: tokens_schema},
    body=login_schema,
    errors=["wrong_credentials", "account_suspended", "rate_limited", "overloaded"],
)
def login() -> dict[str, Any]:
    """Sign in with a username and password."""
    return service.login(requests.json_body(), requests.origin())


@bp.post("/refresh")
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
@documented({200: viewer_token_schema}, errors=["board_not_public", "rate_limited"])
def viewer() -> dict[str, Any]:
    """Issue a read-only token for a public board. Needs no sign-in."""
    return service.viewer()


@bp.record
def apply_limits(state: BlueprintSetupState) -> None:
    """Wrap the views of `LIMITS` in the rate limits of the application, which counts its own."""
    app = cast(Flask, state.app)
    limiter = services(app).limiter
    for name, setting in LIMITS.items():
        view: Any = app.view_functions[f"{bp.name}.{name}"]
        app.view_functions[f"{bp.name}.{name}"] = limiter.limit(app.config[setting])(view)
