"""Format Engine.IO's refusals in the error shape of all other endpoints."""

from http import HTTPStatus
from typing import Any

from ...errors import ScoreboardError
from ...http.json import dumps

_TRANSPORT = ScoreboardError("The transport must be polling or websocket.", "unknown_transport")
_USE_VERSION_4 = "Use version 4 of Engine.IO (EIO=4), as Socket.IO clients since version 3 do."
_NO_POLLING = "This session uses a WebSocket and takes no polling requests."
_MISMATCH = ScoreboardError(_NO_POLLING, "transport_mismatch")
_PROTOCOL = ScoreboardError(_USE_VERSION_4, "unsupported_protocol")
_ENDED = ScoreboardError("This session has ended: connect again.", "session_ended")
# By the start of the library's error message.
_REFUSALS = {
    "Invalid transport": _TRANSPORT,
    "The client is using an unsupported version": _PROTOCOL,
    "Not connected": _MISMATCH,
    "Unexpected HTTP request": _MISMATCH,
    "Invalid session": _ENDED,
    "Session": _ENDED,
}
_BAD_REQUEST = ScoreboardError("This is not a request of Engine.IO.", "bad_request")


def bad_request(message: str | None = None) -> dict[str, Any]:
    """Return the response to a request that Engine.IO refuses.

    It gives no message when it has ended the session, after a malformed packet or a second poll.
    """
    known = (refused for start, refused in _REFUSALS.items() if (message or "").startswith(start))
    return refusal(_ENDED if message is None else next(known, _BAD_REQUEST))


def method_not_allowed() -> dict[str, Any]:
    """Return the response to an HTTP method that Engine.IO does not accept."""
    error = ScoreboardError("Socket.IO takes GET, POST and OPTIONS here.", "method_not_allowed")
    error.status = 405
    # RFC 9110, section 15.5.6
    return refusal(error, Allow="GET, POST, OPTIONS")


def refusal(error: ScoreboardError, **own_headers: str) -> dict[str, Any]:
    """Return an error in the response format of Engine.IO."""
    headers = {"Content-Type": "application/json", **error.headers(), **own_headers}
    status = f"{error.status} {HTTPStatus(error.status).phrase}"
    return {"status": status, "headers": list(headers.items()), "response": dumps(error.body())}
