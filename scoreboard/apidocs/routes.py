"""The documents for programs: OpenAPI and AsyncAPI."""

from typing import Any

from flask import Blueprint, current_app

from ..http.documented import documented
from . import asyncapi, openapi

bp = Blueprint("docs", __name__, url_prefix="/api")


@bp.get("/openapi.json")
@documented({200: "application/json"})
def openapi_json() -> dict[str, Any]:
    """Show every endpoint as OpenAPI 3.1."""
    return openapi.of(current_app)


@bp.get("/asyncapi.json")
@documented({200: "application/json"})
def asyncapi_json() -> dict[str, Any]:
    """Show the live messages as AsyncAPI 3.0."""
    return asyncapi.of(current_app)
