"""Serve the OpenAPI and AsyncAPI documents."""

from typing import Any

from flask import Blueprint, current_app

from ..http.documented import documented
from . import asyncapi, openapi

bp = Blueprint("docs", __name__, url_prefix="/api")


@bp.get("/openapi.json")
@documented({200: "application/json"})
def openapi_json() -> dict[str, Any]:
    """Get the OpenAPI 3.1 document of all endpoints."""
    return openapi.of(current_app)


@bp.get("/asyncapi.json")
@documented({200: "application/json"})
def asyncapi_json() -> dict[str, Any]:
    """Get the AsyncAPI 3.0 document of the live messages."""
    return asyncapi.of(current_app)
