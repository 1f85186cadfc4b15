"""Errors that clients can receive, and the one JSON form in which they are sent."""

import logging
import math
from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError, TimeoutError

log = logging.getLogger(__name__)

# Field names in responses are cut to this length, longer than any real one, to echo little input.
MAX_NAME_LENGTH = 64


class DatabaseUnavailable(Exception):
    """The database is down: a call failed, and no probe has succeeded since."""


# As opposed to errors that the database reports about a statement, such as a taken name.
# TimeoutError is the pool's: no connection became free.
_OF_SQLALCHEMY = (OperationalError, InterfaceError, InternalError, TimeoutError)
DATABASE_ERRORS = (*_OF_SQLALCHEMY, DatabaseUnavailable)


class ScoreboardError(Exception):
    """Base class of every error sent to clients. Subclasses set `status`, `code` and `message`.

    `message` is one sentence: what is wrong and what to do. Codes never change; messages may.
    `retry_after`, in seconds, is sent as Retry-After unless it is 0.
    """

    status, code = 400, "invalid"
    message = ""
    retry_after = 0

    def __init__(self, message: str = "", code: str = "") -> None:
        self.message = message or self.message
        self.code = code or self.code
        super().__init__(self.message)

    def detail(self) -> dict[str, Any]:
        """Return the content of `error` in the response body."""
        return {"code": self.code, "message": self.message}

    def body(self) -> dict[str, Any]:
        """Return the whole response body."""
        return {"error": self.detail()}

    def headers(self) -> dict[str, str]:
        """Return the response headers of this error."""
        return {"Retry-After": str(self.retry_after)} if self.retry_after else {}


class InvalidInput(ScoreboardError):
    """The input is invalid; `fields` lists the problems by field name."""

    code = "invalid_input"

    def __init__(self, message: str, fields: Mapping[str, list[str]], code: str = "") -> None:
        super().__init__(message, code)
        self.fields = dict(fields)

    def detail(self) -> dict[str, Any]:
        """Return code, message and, if any field is invalid, the fields."""
        return {**super().detail(), **({"fields": self.fields} if self.fields else {})}


class UnknownUser(InvalidInput):
    """The update names a user who does not exist."""

    def __init__(self) -> None:
        problem = {"user_id": ["Unknown user."]}
        super().__init__("There is no user with this user_id.", problem, "unknown_user")


class ScoreOutOfRange(InvalidInput):
    """The total would leave the range in which numbers are exact."""

    def __init__(self) -> None:
        problem = {"score_value": ["The total would leave the range of exact numbers."]}
        super().__init__("This update would take the total out of range.", problem)


class BoardClosed(ScoreboardError):
    """The board does not take updates now."""

    code = "board_closed"
    message = "This board is closed: it takes no updates now."


class SeasonOver(ScoreboardError):
    """The update requires a season that is not the current one."""

    code = "season_over"
    message = "This season is not the current one: leave `season` out, or name the current one."


class TicketRefused(InvalidInput):
    """The board needs a run ticket, and the update has none that can be used."""

    def __init__(self, advice: str, code: str) -> None:
        problem = {"ticket": [f"{advice.capitalize()}."]}
        super().__init__(f"This board needs a run ticket: {advice}.", problem, code)


class Replayed(ScoreboardError):
    """The request was accepted before; `receipt` is None unless the caller may see it."""

    code = "replayed"
    message = "This update was accepted before and does not count again."

    def __init__(self, receipt: Mapping[str, Any] | None) -> None:
        super().__init__()
        self.receipt = receipt

    def detail(self) -> dict[str, Any]:
        """Return code, message and, if there is one, the receipt."""
        return {**super().detail(), **({"receipt": dict(self.receipt)} if self.receipt else {})}


class NotAuthenticated(ScoreboardError):
    """The token is missing or not accepted."""

    status, code = 401, "token_invalid"

    def headers(self) -> dict[str, str]:
        """Return the challenge that RFC 9110, section 11.6.1, requires."""
        return {"WWW-Authenticate": "Bearer"}


class UnknownAccount(NotAuthenticated):
    """The token is valid, but its user does not exist."""


class NotPermitted(NotAuthenticated):
    """The token is valid but lacks the permission. The contract requires 401 for both."""

    code = "not_permitted"


class Forbidden(ScoreboardError):
    """The server refuses the request regardless of the token, for example for its origin."""

    status, code = 403, "forbidden"


class NotFound(ScoreboardError):
    """The requested object does not exist."""

    status, code = 404, "not_found"


class UnknownBoard(NotFound):
    """The board does not exist, or is archived; in an update this is an invalid field."""

    code = "unknown_board"
    message = "There is no board with this id."

    def in_update(self) -> InvalidInput:
        """Return the error of an update that names the board."""
        return InvalidInput(self.message, {"board": ["Unknown board."]}, self.code)


class Conflict(ScoreboardError):
    """The request conflicts with stored data, such as a taken name or a score already voided."""

    status, code = 409, "conflict"


class BoardInUse(Conflict):
    """The board cannot change in this way, because it is used."""

    code = "board_in_use"


class RateLimited(ScoreboardError):
    """Too many requests in the period; the next is allowed in `seconds`."""

    status, code = 429, "rate_limited"

    def __init__(self, seconds: float) -> None:
        self.retry_after = max(1, math.ceil(seconds))
        super().__init__(f"Too many requests: try again in {self.retry_after} s.")


class TooManyConnections(ScoreboardError):
    """The user or the address has the maximum number of connections."""

    status, code = 429, "too_many_connections"


class UpgradeRequired(ScoreboardError):
    """The path is a WebSocket endpoint, but the request is not a handshake."""

    status, code = 426, "upgrade_required"
    message = "Connect here with a WebSocket, or with Socket.IO at /ws/scoreboard/."

    def headers(self) -> dict[str, str]:
        """Return the upgrade headers: RFC 9110, section 15.5.22, and RFC 6455, section 4.4."""
        return {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}


class Overloaded(ScoreboardError):
    """The queue of pending work is too long; `retry_after` is in seconds."""

    status, code = 503, "overloaded"

    def __init__(self, retry_after: int = 1, status: int = 503) -> None:
        super().__init__(f"The server is busy and changed nothing: try again in {retry_after} s.")
        self.retry_after, self.status = retry_after, status


class FreezeDue(Overloaded):
    """A board of this ledger must be frozen before `count` updates; see `Ledger.freeze_due`."""

    def __init__(self, ledger_id: str, count: int) -> None:
        super().__init__()
        self.ledger_id, self.count = ledger_id, count


class Stopping(ScoreboardError):
    """The process is shutting down and accepts nothing new."""

    status, code = 500, "stopping"
    message = "The server is restarting and changed nothing: try again."


class ServerError(ScoreboardError):
    """An internal error. Details are only logged, never sent to the client."""

    status, code = 500, "server_error"
    message = "The server failed: send the same request again, it counts once."


def translate(error: Exception) -> ScoreboardError:
    """Return the error to send to the client; logs an unexpected one and returns ServerError."""
    if isinstance(error, ScoreboardError):
        return error
    if isinstance(error, ValidationError):
        fields = {name[:MAX_NAME_LENGTH]: texts for name, texts in error.messages_dict.items()}
        return InvalidInput("Some fields are missing or wrong; see fields.", fields)
    log.error("unexpected error", exc_info=error)
    return ServerError()
