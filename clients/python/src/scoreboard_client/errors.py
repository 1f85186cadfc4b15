"""The errors of the client, and how a response becomes one."""

import json
from typing import Any

from .models import Update


class ScoreboardError(Exception):
    """Base class of all errors of this package.

    `code` is stable: one of the server, or `unreachable`, `not_signed_in`, `closed` or
    `unexpected_response`.
    `message` is a sentence for people. `status` is the HTTP status, None without a response.
    `fields` lists the problems by field name. `retry_after` is in seconds, 0 if unknown. `update`
    is the update without a receipt: `submit_update(error.update)` sends it again.
    """

    def __init__(
        self,
        message: str,
        code: str = "unexpected_response",
        status: int | None = None,
        fields: dict[str, list[str]] | None = None,
        retry_after: float = 0,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.status = status
        self.fields = fields or {}
        self.retry_after = retry_after
        self.update: Update | None = None

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class Invalid(ScoreboardError):
    """The request is invalid (400): see `fields`, or `code` for the rule of the board."""


class Unauthorized(ScoreboardError):
    """There is no valid token, or it may not do this (401)."""


class NotFound(ScoreboardError):
    """There is no such board or user, or the user has no score on the board (404)."""


class Conflict(ScoreboardError):
    """The name is taken, for example (409)."""


class RateLimited(ScoreboardError):
    """Too many requests (429): the next is allowed after `retry_after` seconds."""


class Unavailable(ScoreboardError):
    """The server failed or restarts (5xx), or there was no response. A retry may succeed."""


_BY_STATUS = {400: Invalid, 401: Unauthorized, 404: NotFound, 409: Conflict, 429: RateLimited}


def is_temporary(error: ScoreboardError) -> bool:
    """Whether the same request may succeed later."""
    return isinstance(error, RateLimited | Unavailable)


def is_token_refused(error: ScoreboardError) -> bool:
    """Whether the same request may succeed with another token of the same user."""
    return isinstance(error, Unauthorized) and error.code != "not_permitted"


def unreachable(error: Exception) -> Unavailable:
    """Return the error of a request without a response."""
    made = Unavailable(str(error) or type(error).__name__, "unreachable")
    made.__cause__ = error
    return made


def outcome(status: int, body: Any, retry_after: float = 0) -> Any:
    """Return the body of a successful response, or the error as a ScoreboardError.

    An update that was recorded before is a success: its first receipt is returned.
    """
    detail = body.get("error") if isinstance(body, dict) else None
    if 200 <= status < 300 and detail is None:
        return body
    kind = Unavailable if status >= 500 else _BY_STATUS.get(status, ScoreboardError)
    if not isinstance(detail, dict):
        # A proxy sent it, or the URL is not that of a scoreboard.
        return kind(f"The response has status {status} and no error code.", status=status)
    if "receipt" in detail:
        return detail["receipt"]
    fields = detail.get("fields")
    return kind(detail["message"], detail["code"], status, fields, retry_after)


def read_response(status: int, content: bytes, retry_after: str | None) -> Any:
    """Return the body of a successful HTTP response, or the error as a ScoreboardError."""
    try:
        body = json.loads(content) if content else None
    except ValueError:
        if 200 <= status < 300:
            return ScoreboardError("The response is not JSON: check the URL.", status=status)
        body = None
    seconds = retry_after or ""  # a proxy may send a date, which is ignored
    return outcome(status, body, float(seconds) if seconds.isdecimal() else 0)
