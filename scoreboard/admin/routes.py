"""The admin endpoints. The caller is authorized before a view reads the query or body."""

from typing import Any

from flask import Blueprint, Response, current_app, g, request, stream_with_context

from ..anomalies import flags
from ..boards.schemas import (
    board_object_schema,
    board_reference_schema,
    changes_schema,
    new_board_schema,
    reveal_schema,
)
from ..http.documented import Documented
from ..http.request import bearer_token, client_info, json_body, query
from ..scores.schemas import receipt_schema
from . import export, monitoring, schemas, service, users

bp = Blueprint("admin", __name__, url_prefix="/api/admin")
ADMIN: dict[str, Any] = {"needs": "access", "may": ["users:manage"]}
BOARD: dict[str, Any] = {
    **ADMIN,
    "path": board_reference_schema,
    "errors": ["unknown_board"],
}
USER: dict[str, Any] = {**ADMIN, "path": schemas.user_reference_schema, "errors": ["unknown_user"]}

VOID_ERRORS = ["unknown_score", "already_voided", "out_of_range", "unknown_board"]
RESTORE_ERRORS = ["unknown_score", "not_voided", "out_of_range", "unknown_board"]
SCORE: dict[str, Any] = {**ADMIN, "path": schemas.score_reference_schema}
BY_HAND_ERRORS = [
    *("unknown_user", "unknown_board", "board_derived", "board_closed", "score_out_of_range"),
]


@bp.before_request
def authorize() -> None:
    """Set `g.moderator`. Raises NotAuthenticated, or NotPermitted unless an admin."""
    if request.method != "OPTIONS":  # browsers send CORS preflights without a token
        g.moderator = service.moderator(bearer_token(), client_info())


@bp.get("/marks")
@Documented({200: schemas.marks_schema}, query=schemas.marks_query_schema, **ADMIN)
def marks() -> dict[str, Any]:
    """List the newest anomaly flags (marks), of all users or one."""
    user_id = schemas.marks_query_schema.load(query()).get("user_id")
    return schemas.marks_schema.dump({"marks": flags.newest(user_id)})


@bp.get("/overview")
@Documented({200: schemas.overview_schema}, query=schemas.overview_query_schema, **ADMIN)
def overview() -> dict[str, Any]:
    """Show updates, refusals by reason, and connections, over the last hour or 24 hours."""
    return schemas.overview_schema.dump(monitoring.overview(query()))


@bp.get("/audit")
@Documented({200: schemas.audit_schema}, query=schemas.audit_query_schema, **ADMIN)
def audit() -> dict[str, Any]:
    """Show the newest audit log lines."""
    return schemas.audit_schema.dump(monitoring.audit_tail(query()))


@bp.get("/users")
@Documented({200: schemas.users_schema}, query=schemas.users_query_schema, **ADMIN)
def list_users() -> dict[str, Any]:
    """List users by name: all of them, or those with a part of a name, a role or a status."""
    return schemas.users_schema.dump(users.page(query()))


@bp.post("/users")
@Documented(
    {201: schemas.listed_user_schema},
    body=schemas.new_user_schema,
    errors=["username_taken", "email_taken"],
    **ADMIN,
)
def create_user() -> tuple[dict[str, Any], int]:
    """Create a user, with any role and any name. Without a password it cannot sign in with one."""
    created = service.create_user(g.moderator, json_body())
    return schemas.listed_user_schema.dump(users.find(created.user_id)), 201


@bp.patch("/users/<user_id>")
@Documented(
    {200: schemas.listed_user_schema},
    body=schemas.user_changes_schema,
    **{**USER, "errors": ["unknown_user", "username_taken", "email_taken"]},
)
def change_user(user_id: str) -> dict[str, Any]:
    """Change a user's name, email address or role. A new name is shown everywhere at once."""
    service.change_user(g.moderator, user_id, json_body())
    return schemas.listed_user_schema.dump(users.find(user_id))


@bp.delete("/users/<user_id>")
@Documented({204: None}, **USER)
def erase_user(user_id: str) -> tuple[str, int]:
    """Erase a user: name, email address and password. The user leaves every board for good."""
    service.erase(g.moderator, user_id)
    return "", 204


@bp.get("/users/<user_id>")
@Documented({200: schemas.listed_user_schema}, **USER)
def find_user(user_id: str) -> dict[str, Any]:
    """Return a user with its email address and its newest flags."""
    return schemas.listed_user_schema.dump(users.find(user_id))


@bp.post("/users/<user_id>/hide")
@Documented({200: schemas.user_schema}, **USER)
def hide(user_id: str) -> dict[str, Any]:
    """Hide a user from the board."""
    return schemas.user_schema.dump(service.hide(g.moderator, user_id))


@bp.post("/users/<user_id>/restore")
@Documented({200: schemas.user_schema}, **USER)
def restore(user_id: str) -> dict[str, Any]:
    """Show a hidden user on the board again."""
    return schemas.user_schema.dump(service.restore(g.moderator, user_id))


@bp.post("/users/<user_id>/role")
@Documented({200: schemas.user_schema}, body=schemas.role_schema, **USER)
def role(user_id: str) -> dict[str, Any]:
    """Change a user's role."""
    return schemas.user_schema.dump(service.set_role(g.moderator, user_id, json_body()))


@bp.post("/users/<user_id>/end-sessions")
@Documented({200: schemas.user_schema}, **USER)
def end_sessions(user_id: str) -> dict[str, Any]:
    """Revoke all of a user's tokens issued until now."""
    return schemas.user_schema.dump(service.end_sessions(g.moderator, user_id))


@bp.post("/users/<user_id>/suspend")
@Documented({200: schemas.user_schema}, **USER)
def suspend(user_id: str) -> dict[str, Any]:
    """Suspend a user: refuse its requests and end all of its sessions."""
    return schemas.user_schema.dump(service.suspend(g.moderator, user_id))


@bp.post("/users/<user_id>/reinstate")
@Documented({200: schemas.user_schema}, **USER)
def reinstate(user_id: str) -> dict[str, Any]:
    """Allow a suspended user to sign in again."""
    return schemas.user_schema.dump(service.reinstate(g.moderator, user_id))


@bp.post("/users/<user_id>/reset-link")
@Documented({200: schemas.reset_link_schema}, **USER)
def reset_link(user_id: str) -> dict[str, Any]:
    """Make a link with which a user sets a new password; it voids the one before.

    It works once and for 24 hours, and signs the user out everywhere.
    """
    base_url = current_app.config["PUBLIC_URL"] or request.host_url
    link = service.reset_link(g.moderator, user_id, base_url)
    return schemas.reset_link_schema.dump(link)


@bp.post("/boards")
@Documented({201: board_object_schema}, body=new_board_schema, errors=["board_exists"], **ADMIN)
def create_board() -> tuple[dict[str, Any], int]:
    """Create a board: one that takes updates, or one derived from such a board."""
    return service.create_board(g.moderator, json_body()), 201


@bp.patch("/boards/<board>")
@Documented(
    {200: board_object_schema},
    body=changes_schema,
    **{**BOARD, "errors": ["unknown_board", "board_in_use"]},
)
def change_board(board: str) -> dict[str, Any]:
    """Change the settings of a board. Policy and order are fixed after the first score."""
    return service.change_board(g.moderator, board, json_body())


@bp.get("/boards/<board>/export.csv")
@Documented({200: "text/csv"}, query=schemas.export_query_schema, **BOARD)
def export_csv(board: str) -> Response:
    """Return a season of a board as CSV for spreadsheets.

    The columns are rank, position, username, score and reached_at. An apostrophe precedes what a
    spreadsheet might run as a formula in a name.
    """
    lines = export.as_csv(board, query(), bearer_token())
    response = Response(stream_with_context(lines), mimetype="text/csv")
    response.headers.set("Content-Disposition", "attachment", filename=f"{board}.csv")
    return response


@bp.get("/boards/<board>/export.json")
@Documented({200: "application/json"}, query=schemas.feed_query_schema, **BOARD)
def export_json(board: str) -> Response:
    """Return a season of a board as CTFtime reads it: standings of pos, team and score."""
    parts = export.as_ctftime(board, query(), bearer_token())
    return Response(stream_with_context(parts), mimetype="application/json")


@bp.post("/boards/<board>/seasons")
@Documented({201: board_object_schema}, **BOARD)
def end_season(board: str) -> tuple[dict[str, Any], int]:
    """End the current season of a board now, and open the next."""
    return service.end_season(g.moderator, board), 201


@bp.post("/boards/<board>/freeze")
@Documented({200: board_object_schema}, **BOARD)
def freeze_board(board: str) -> dict[str, Any]:
    """Freeze a board: everybody sees it as it is now, while updates are recorded as before."""
    return service.freeze_board(g.moderator, board)


@bp.post("/boards/<board>/reveal")
@Documented(
    {200: board_object_schema},
    body=reveal_schema,
    **{**BOARD, "errors": ["unknown_board", "not_frozen"]},
)
def reveal_board(board: str) -> dict[str, Any]:
    """Show the next places of a frozen board, from the last; with the first, it is unfrozen."""
    return service.reveal_board(g.moderator, board, json_body())


@bp.post("/boards/<board>/unfreeze")
@Documented({200: board_object_schema}, **BOARD)
def unfreeze_board(board: str) -> dict[str, Any]:
    """Show the whole of a frozen board as it is. A `freezes_at` that has passed is cleared."""
    return service.unfreeze_board(g.moderator, board)


@bp.delete("/boards/<board>")
@Documented({204: None}, **{**BOARD, "errors": ["unknown_board", "board_in_use"]})
def archive_board(board: str) -> tuple[str, int]:
    """Archive a board: it is no longer listed or fed, and only admins can read it."""
    service.archive_board(g.moderator, board)
    return "", 204


@bp.post("/scores")
@Documented(
    {201: receipt_schema}, body=schemas.score_by_hand_schema, errors=BY_HAND_ERRORS, **ADMIN
)
def score_by_hand() -> tuple[dict[str, Any], int]:
    """Enter a score by hand, for a user by id or name.

    `score_value` counts as any update of now: within the bounds of the board, while the board is
    open, by its policy. `change` is added to the current score instead, where the policy is
    `latest` or `total`. No rate limit applies.
    """
    return service.score_by_hand(g.moderator, json_body()), 201


@bp.post("/scores/<score_id>/restore")
@Documented({200: schemas.restored_schema}, errors=RESTORE_ERRORS, **SCORE)
def restore_score(score_id: str) -> dict[str, Any]:
    """Undo the void of a score: it counts again, at its place in the history."""
    return schemas.restored_schema.dump(service.restore_score(g.moderator, score_id))


@bp.post("/scores/<score_id>/void")
@Documented({200: schemas.voided_schema}, body=schemas.void_schema, errors=VOID_ERRORS, **SCORE)
def void(score_id: str) -> dict[str, Any]:
    """Void a score."""
    return schemas.voided_schema.dump(service.void(g.moderator, score_id, json_body()))
