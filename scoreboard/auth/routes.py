"""The auth endpoints. Coarse limits per address guard them all."""

from typing import Any

from flask import Blueprint, current_app

from .. import requests
from ..extensions import limiter
from . import service
from .schemas import account_schema

bp = Blueprint("auth", __name__, url_prefix="/api/auth")
limiter.limit(lambda: current_app.config["AUTH_RATE_LIMIT"])(bp)


@bp.post("/register")
def register() -> tuple[dict[str, Any], int]:
    """Create an account; its role is player."""
    return account_schema.dump(service.register(requests.json_body())), 201


@bp.post("/login")
def login() -> dict[str, Any]:
    """Sign in with name and password."""
    return service.login(requests.json_body())


@bp.post("/refresh")
def refresh() -> dict[str, Any]:
    """Exchange a refresh token, sent as the Bearer token, for a new pair."""
    return service.refresh(requests.bearer_token())


@bp.post("/logout")
def logout() -> tuple[str, int]:
    """End this sign-in: its access and refresh tokens are refused from now on."""
    service.logout(requests.bearer_token())
    return "", 204


@bp.get("/me")
def me() -> dict[str, Any]:
    """Show the account whose token this is."""
    return account_schema.dump(service.me(requests.bearer_token()))


@bp.post("/viewer")
def viewer() -> dict[str, Any]:
    """Hand out a read-only token to anyone who shows the board."""
    return service.viewer()
