"""The HTTP door of the scores."""

from typing import Any

from flask import Blueprint

from .. import requests
from . import service

bp = Blueprint("scores", __name__, url_prefix="/api/score")


@bp.post("/update")
def update() -> dict[str, Any]:
    """Update a user's score."""
    return service.submit(requests.json_body(), requests.bearer_token(), requests.origin())


@bp.post("/batch")
def batch() -> dict[str, Any]:
    """Update many scores, each on its own. For game servers."""
    body = requests.long_json_body(service.LONGEST_BATCH)
    return service.submit_all(body, requests.bearer_token(), requests.origin())


@bp.get("/top10")
def top10() -> dict[str, Any]:
    """Show the top 10. Public: no token is asked for."""
    return service.top10()
