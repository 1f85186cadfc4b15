"""The auth endpoints. Coarse limits per address guard them all."""

from typing import Any

from flask import Blueprint, current_app

from .. import requests
from ..documented import documented
from ..extensions import limiter
from . import service
from .schemas import (
    account_schema,
    login_schema,
    register_schema,
    tokens_schema,
    viewer_token_schema,
)

bp = Blueprint("auth", __name__, url_prefix="/api/auth")
limiter.limit(lambda: current_app.config["AUTH_RATE_LIMIT"])(bp)


@bp.post("/register")
@documented(
    {201: account_schema},
    body=register_schema,
    errors=["username_taken", "email_taken", "rate_limited"],
)
def register() -> tuple[dict[str, Any], int]:
    """Create an account; its role is player."""
    return account_schema.dump(service.register(requests.json_body())), 201


@bp.post("/login")
@documented(
    {200: tokens_schema},
    body=login_schema,
    errors=["wrong_credentials", "account_suspended", "rate_limited"],
)
def login() -> dict[str, Any]:
    """Sign in with name and password."""
    return service.login(requests.json_body())


@bp.post("/refresh")
@documented({200: tokens_schema}, needs="refresh", errors=["token_reused", "rate_limited"])
def refresh() -> dict[str, Any]:
    """Exchange a refresh token, sent as the Bearer token, for a new pair.

    The old one is dead from then on; to use it once more ends the sign-in.
    """
    return service.refresh(requests.bearer_token())


@bp.post("/logout")
@documented({204: None}, needs="access", errors=["rate_limited"])
def logout() -> tuple[str, int]:
    """End this sign-in: its access and refresh tokens are refused from now on."""
    service.logout(requests.bearer_token())
    return "", 204


@bp.get("/me")
@documented({200: account_schema}, needs="access", errors=["not_permitted", "rate_limited"])
def me() -> dict[str, Any]:
    """Show the account whose token this is."""
    return account_schema.dump(service.me(requests.bearer_token()))


@bp.post("/viewer")
@documented({200: viewer_token_schema}, errors=["board_not_public", "rate_limited"])
def viewer() -> dict[str, Any]:
    """Hand out a read-only token to anyone who shows the board."""
    return service.viewer()
