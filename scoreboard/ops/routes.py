"""Endpoints for platforms and Prometheus, without rate limits."""

from typing import Any

from flask import Blueprint, Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from ..http.documented import Documented
from ..http.request import bearer_token
from . import service
from .schemas import health_schema, readiness_schema

bp = Blueprint("ops", __name__)


@bp.get("/healthz")
@Documented({200: health_schema})
def healthz() -> dict[str, str]:
    """Report that the process is alive. Checks no dependency, so none can make it fail."""
    return {"status": "ok"}


@bp.get("/readyz")
@Documented({200: readiness_schema, 503: readiness_schema})
def readyz() -> tuple[dict[str, Any], int]:
    """Report whether updates can be accepted, and the state of the dependencies."""
    report = service.readiness()
    return report, 200 if report["status"] == "ok" else 503


@bp.get("/metrics")
@Documented(
    {200: "text/plain"},
    needs="metrics",
    optional=True,
    errors=["token_missing", "token_invalid", "metrics_closed"],
)
def metrics() -> Response:
    """Return the metrics of this process. If METRICS_TOKEN is set, send it as the Bearer token.

    A public server without that setting refuses the request, unless METRICS_PUBLIC is 1.
    """
    return Response(service.exposition(bearer_token()), content_type=CONTENT_TYPE_PLAIN_0_0_4)
