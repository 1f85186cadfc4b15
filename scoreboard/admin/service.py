"""Moderate: hide and suspend users, set their roles, end their sessions, void scores.

Each action blocks for its transactions, takes effect at once, and is in the audit log.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ..auth import accounts, passwords, reset_links, tokens
from ..auth.schemas import profile_schema
from ..boards import service as boards
from ..errors import InvalidInput, NotPermitted
from ..http import fields, request
from ..models import MAIN
from ..observability import audit
from ..scores import history, submit
from ..services import services
from . import schemas


@dataclass(frozen=True)
class Moderator:
    """A moderator and the client of its request. `user_id` is None on the command line."""

    user_id: str | None
    client: request.ClientInfo


def moderator(token: str | None, client: request.ClientInfo) -> Moderator:
    """Return the token's moderator. Raises NotAuthenticated, or NotPermitted unless an admin."""
    caller = tokens.authenticate(token)
    if not caller.may("users:manage"):
        raise NotPermitted("This needs the token of an admin.")
    return Moderator(caller.user_id, client)


def create_user(by: Moderator, body: object) -> accounts.Account:
    """Create a user with the fields in the body. Blocks while the password is hashed.

    Raises InvalidInput, Conflict if the name or address is taken, or Overloaded.
    """
    loaded = schemas.new_user_schema.load(fields.json_object(body))
    password_hash, role = None, loaded["role"]
    if "password" in loaded:
        with services().password_queue.slot(by.client.address):
            password_hash = passwords.hash_password(loaded["password"])
    account = accounts.create(loaded["username"], loaded.get("email"), password_hash, role)
    _log_user(by, f"create {role}", account.user_id)
    return account


def change_user(by: Moderator, user_id: str, body: object) -> accounts.Account:
    """Set the name, address and role that are in the body. Raises NotFound or Conflict."""
    loaded = schemas.user_changes_schema.load(fields.json_object(body))
    return _change(by, " ".join(["change", *sorted(loaded)]), user_id, loaded)


def hide(by: Moderator, user_id: str) -> accounts.Account:
    """Hide the user from the board; its standing is kept. Raises NotFound."""
    return _change(by, "hide", user_id, {"hidden_at": datetime.now(UTC)})


def restore(by: Moderator, user_id: str) -> accounts.Account:
    """Show the hidden user on the board again, with its standing. Raises NotFound."""
    return _change(by, "restore", user_id, {"hidden_at": None})


def set_role(by: Moderator, user_id: str, body: object) -> accounts.Account:
    """Set the user's role to `role` in the body, from the next request on. Raises NotFound."""
    role = schemas.role_schema.load(fields.json_object(body))["role"]
    return _change(by, f"role {role}", user_id, {"role": role})


def end_sessions(by: Moderator, user_id: str) -> accounts.Account:
    """Revoke the user's tokens issued until now; close their connections. Raises NotFound."""
    return _change(by, "end-sessions", user_id, {}, revokes=True)


def suspend(by: Moderator, user_id: str) -> accounts.Account:
    """Suspend the user: refuse its requests and end all of its sessions. Raises NotFound."""
    return _change(by, "suspend", user_id, {"suspended_at": datetime.now(UTC)}, revokes=True)


def reinstate(by: Moderator, user_id: str) -> accounts.Account:
    """Allow a suspended user to sign in again; its old tokens stay revoked. Raises NotFound."""
    return _change(by, "reinstate", user_id, {"suspended_at": None})


def _change(
    by: Moderator, action: str, user_id: str, values: dict[str, Any], revokes: bool = False
) -> accounts.Account:
    """Set `values` of the user and log the action. If `revokes`, end all of the user's sessions."""
    valid_id: str = schemas.user_reference_schema.load({"user_id": user_id})["user_id"]
    account = accounts.change(valid_id, ends_sessions=revokes, **values)
    _log_user(by, action, valid_id)
    return account


def reset_link(by: Moderator, user_id: str, base_url: str) -> dict[str, Any]:
    """Return the `url`, below the base URL, and `expires_at` of a new reset link of the user.

    Raises NotFound.
    """
    valid_id: str = schemas.user_reference_schema.load({"user_id": user_id})["user_id"]
    link = reset_links.create(accounts.change(valid_id).user_id)
    _log_user(by, "reset-link", valid_id)
    return {"url": link.url(base_url), "expires_at": link.expires_at}


def rename(by: Moderator, user_id: str, body: object) -> accounts.Account:
    """Give the user the `username` in the body, also a reserved one. Raises NotFound, Conflict."""
    name = profile_schema.load(fields.json_object(body))["username"]
    return _change(by, "rename", user_id, {"username": name})


def erase(by: Moderator, user_id: str) -> None:
    """Erase the user; see `accounts.erase`. Raises NotFound."""
    valid_id: str = schemas.user_reference_schema.load({"user_id": user_id})["user_id"]
    accounts.erase(valid_id)
    _log_user(by, "delete", valid_id)


def _log_user(by: Moderator, action: str, user_id: str) -> None:
    audit.moderation(by.client, by.user_id, action, {"user_id": user_id}, reason=None)
    services().metrics.account_events.labels(action.partition(" ")[0], "accepted").inc()


def void(by: Moderator, score_id: str, body: object) -> history.ModeratedScore:
    """Void a score, for the `reason` in the body; the other scores then decide the standing.

    Blocks for seconds if the user's history is long, yielding to the loop. Raises NotFound, or
    Conflict if the score is voided already or cannot be.
    """
    valid_id = schemas.score_reference_schema.load({"score_id": score_id})["score_id"]
    reason = schemas.void_schema.load(fields.json_object(body))["reason"]
    with services().void_lock:
        voided = history.void(valid_id, by.user_id, reason)
    target = {"user_id": voided.user_id, "score_id": valid_id}
    audit.moderation(by.client, by.user_id, "void", target, reason)
    return voided


def restore_score(by: Moderator, score_id: str) -> history.ModeratedScore:
    """Undo the void of a score; see `void`. Raises NotFound or Conflict."""
    valid_id = schemas.score_reference_schema.load({"score_id": score_id})["score_id"]
    with services().void_lock:
        restored = history.restore(valid_id)
    target = {"user_id": restored.user_id, "score_id": valid_id}
    audit.moderation(by.client, by.user_id, "restore-score", target, reason=None)
    return restored


def score_by_hand(by: Moderator, body: object) -> dict[str, Any]:
    """Record a score, or a change of the current score, that an admin enters for a user.

    Returns the receipt. Raises InvalidInput; see `scores.submit.submit_by_hand`.
    """
    loaded = schemas.score_by_hand_schema.load(fields.json_object(body))
    receipt = submit.submit_by_hand(loaded, _user_id(loaded), str(by.user_id))
    target = {"board": loaded.get("board", MAIN)} | {
        name: fields.number(loaded[name]) for name in ("score_value", "change") if name in loaded
    }
    target |= {"user_id": receipt.user_id, "score_id": receipt.score_id}
    audit.moderation(by.client, by.user_id, "score by hand", target, loaded["reason"])
    return receipt.body()


def _user_id(loaded: dict[str, Any]) -> str:
    """Return the id of the user that the body names. Raises InvalidInput for an unknown name."""
    if "username" not in loaded:
        return str(loaded["user_id"])
    account = accounts.by_name(loaded["username"])
    if account is None:
        problem = {"username": ["Unknown user."]}
        raise InvalidInput("There is no user with this username.", problem, "unknown_user")
    return account.user_id


def create_board(by: Moderator, body: object) -> dict[str, Any]:
    """Create a board; see `boards.service.create`."""
    created = boards.create(body)
    _log_board(by, "create-board", created["board_id"])
    return created


def change_board(by: Moderator, board_id: str, body: object) -> dict[str, Any]:
    """Change the settings of a board; see `boards.service.change`."""
    changed = boards.change(board_id, body)
    _log_board(by, "change-board", board_id)
    return changed


def end_season(by: Moderator, board_id: str) -> dict[str, Any]:
    """End the current season of a board; see `boards.service.end_season`."""
    changed = boards.end_season(board_id)
    _log_board(by, "end-season", board_id)
    return changed


def freeze_board(by: Moderator, board_id: str) -> dict[str, Any]:
    """Freeze a board; see `boards.service.freeze`."""
    changed = boards.freeze(board_id)
    _log_board(by, "freeze-board", board_id)
    return changed


def unfreeze_board(by: Moderator, board_id: str) -> dict[str, Any]:
    """Unfreeze a board; see `boards.service.unfreeze`."""
    changed = boards.unfreeze(board_id)
    _log_board(by, "unfreeze-board", board_id)
    return changed


def reveal_board(by: Moderator, board_id: str, body: object) -> dict[str, Any]:
    """Reveal places of a frozen board; see `boards.service.reveal`."""
    changed = boards.reveal(board_id, body)
    _log_board(by, "reveal-board", board_id)
    return changed


def archive_board(by: Moderator, board_id: str) -> None:
    """Archive a board; see `boards.service.archive`."""
    boards.archive(board_id)
    _log_board(by, "archive-board", board_id)


def _log_board(by: Moderator, action: str, board_id: str) -> None:
    audit.moderation(by.client, by.user_id, action, {"board": board_id}, reason=None)
