"""Serve the OpenAPI and AsyncAPI documents."""

from typing import Any

from flask import Blueprint

from ..http.documented import Documented
from ..services import services

bp = Blueprint("docs", __name__, url_prefix="/api")


@bp.get("/openapi.json")
@Documented({200: "application/json"})
def openapi_json() -> dict[str, Any]:
    """Get the OpenAPI 3.1 document of all endpoints."""
    return services().api_documents.openapi()


@bp.get("/asyncapi.json")
@Documented({200: "application/json"})
def asyncapi_json() -> dict[str, Any]:
    """Get the AsyncAPI 3.0 document of the live messages."""
    return services().api_documents.asyncapi()
