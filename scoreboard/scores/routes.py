"""The HTTP door of the scores."""

from typing import Any

from flask import Blueprint

from .. import requests
from ..documented import documented
from . import service
from .schemas import batch_schema, receipt_schema, results_schema, top10_schema, update_schema

bp = Blueprint("scores", __name__, url_prefix="/api/score")


@bp.post("/update")
@documented(
    {200: receipt_schema},
    body=update_schema,
    needs="access",
    may=["score:own", "score:any"],
    errors=["timestamp_in_future", "unknown_user", "replayed", "rate_limited"],
)
def update() -> dict[str, Any]:
    """Update a user's score.

    A player updates their own, a scorer or an admin anyone's. An update that was accepted before
    is answered with `replayed`, changes nothing, and brings the receipt of the first time.
    """
    return service.submit(requests.json_body(), requests.bearer_token(), requests.origin())


@bp.post("/batch")
@documented({200: results_schema}, body=batch_schema, needs="access", may=["score:any"])
def batch() -> dict[str, Any]:
    """Update many scores, each on its own. For game servers.

    Each is judged as `POST /api/score/update` would: one that is refused fails no other. At most
    256 KiB. A batch whose answer was lost can be sent again as it is.
    """
    body = requests.long_json_body(service.LONGEST_BATCH)
    return service.submit_all(body, requests.bearer_token(), requests.origin())


@bp.get("/top10")
@documented({200: top10_schema})
def top10() -> dict[str, Any]:
    """Show the top 10. Public: no token is asked for."""
    return service.top10()
