"""The admin endpoints. The caller is authorized before the query or body is read."""

from typing import Any

from flask import Blueprint

from ..http import request as requests
from ..http.documented import documented
from . import service, watch
from .schemas import (
    audit_query_schema,
    audit_schema,
    marks_query_schema,
    marks_schema,
    overview_schema,
    role_schema,
    score_reference_schema,
    user_reference_schema,
    user_schema,
    void_schema,
    voided_schema,
)

bp = Blueprint("admin", __name__, url_prefix="/api/admin")
MODERATOR: dict[str, Any] = {"needs": "access", "may": ["users:manage"]}
OF_A_USER: dict[str, Any] = {
    "path": user_reference_schema,
    "errors": ["unknown_user"],
    **MODERATOR,
}


@bp.get("/marks")
@documented({200: marks_schema}, query=marks_query_schema, **MODERATOR)
def marks() -> dict[str, Any]:
    """List the newest anomaly flags (marks), of all users or one."""
    return marks_schema.dump({"marks": service.marks(_moderator(), requests.query())})


@bp.get("/overview")
@documented({200: overview_schema}, **MODERATOR)
def overview() -> dict[str, Any]:
    """Show updates per minute, refusals and connections of the process that responds."""
    return overview_schema.dump(watch.overview(_moderator()))


@bp.get("/audit")
@documented({200: audit_schema}, query=audit_query_schema, **MODERATOR)
def audit() -> dict[str, Any]:
    """Show the newest audit log lines of the process that responds."""
    return audit_schema.dump(watch.audit_tail(_moderator(), requests.query()))


@bp.post("/users/<user_id>/hide")
@documented({200: user_schema}, **OF_A_USER)
def hide(user_id: str) -> dict[str, Any]:
    """Hide a user from the board."""
    return user_schema.dump(service.hide(_moderator(), user_id))


@bp.post("/users/<user_id>/restore")
@documented({200: user_schema}, **OF_A_USER)
def restore(user_id: str) -> dict[str, Any]:
    """Put a hidden user back on the board."""
    return user_schema.dump(service.restore(_moderator(), user_id))


@bp.post("/users/<user_id>/role")
@documented({200: user_schema}, body=role_schema, **OF_A_USER)
def role(user_id: str) -> dict[str, Any]:
    """Change a user's role."""
    return user_schema.dump(service.set_role(_moderator(), user_id, requests.json_body()))


@bp.post("/users/<user_id>/end-sessions")
@documented({200: user_schema}, **OF_A_USER)
def end_sessions(user_id: str) -> dict[str, Any]:
    """Revoke all of a user's tokens issued until now."""
    return user_schema.dump(service.end_sessions(_moderator(), user_id))


@bp.post("/users/<user_id>/suspend")
@documented({200: user_schema}, **OF_A_USER)
def suspend(user_id: str) -> dict[str, Any]:
    """Suspend a user: refuse its requests and end all of its sessions."""
    return user_schema.dump(service.suspend(_moderator(), user_id))


@bp.post("/users/<user_id>/reinstate")
@documented({200: user_schema}, **OF_A_USER)
def reinstate(user_id: str) -> dict[str, Any]:
    """Allow a suspended user to sign in again."""
    return user_schema.dump(service.reinstate(_moderator(), user_id))


@bp.post("/scores/<score_id>/void")
@documented(
    {200: voided_schema},
    body=void_schema,
    path=score_reference_schema,
    errors=["unknown_score", "already_voided", "out_of_range"],
    **MODERATOR,
)
def void(score_id: str) -> dict[str, Any]:
    """Void a score."""
    return voided_schema.dump(service.void(_moderator(), score_id, requests.json_body()))


def _moderator() -> service.Moderator:
    return service.moderator(requests.bearer_token(), requests.origin())
