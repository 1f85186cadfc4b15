"""The endpoints that platforms and Prometheus ask. None of them is limited."""

from typing import Any

from flask import Blueprint, Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from ..http import request as requests
from ..http.documented import documented
from . import service
from .schemas import health_schema, readiness_schema

bp = Blueprint("ops", __name__)


@bp.get("/healthz")
@documented({200: health_schema})
def healthz() -> dict[str, str]:
    """Say that the process is alive. Touches nothing, so that nothing else can fail it."""
    return {"status": "ok"}


@bp.get("/readyz")
@documented({200: readiness_schema, 503: readiness_schema})
def readyz() -> tuple[dict[str, Any], int]:
    """Show whether updates can be taken, and the state of what that depends on."""
    report = service.readiness()
    return report, 200 if report["status"] == "ok" else 503


@bp.get("/metrics")
@documented(
    {200: "text/plain"},
    needs="metrics",
    optional=True,
    errors=["token_missing", "token_invalid"],
)
def metrics() -> Response:
    """Show the metrics of this process; with METRICS_TOKEN set, to the holder of it only."""
    exposition = service.exposition(requests.bearer_token())
    return Response(exposition, content_type=CONTENT_TYPE_PLAIN_0_0_4)
