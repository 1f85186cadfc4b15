"""What both clients do to watch boards: tokens, messages, and when to connect again."""

import logging
from collections.abc import Iterable
from urllib.parse import urlencode

from websockets.exceptions import ConnectionClosed, InvalidStatus

from .core import Authorize, Core, Flow, Request, perform, retry_delay
from .errors import (
    ScoreboardError,
    Unauthorized,
    is_temporary,
    is_token_refused,
    read_response,
    unreachable,
)
from .models import Message, parse_message

log = logging.getLogger("scoreboard_client")

# The close code of a connection whose token has expired or was revoked.
TOKEN_ENDED = 4401


class Watch:
    """The state of one `watch`, over all its connections."""

    def __init__(self, core: Core, url: str, board: str | Iterable[str]) -> None:
        boards = [board] if isinstance(board, str) else board
        query = urlencode({"board": ",".join(boards)})
        self.url = f"{url.replace('http', 'ws', 1)}/ws/scoreboard?{query}"
        self._core = core
        self._token: str | None = None
        self._refused: str | None = None
        self._failures = 0

    def token(self) -> Flow[str]:
        """Return a token for the next connection; anonymous clients get a read-only one."""
        token = yield from perform(Authorize(self._refused))
        if token is None:
            viewer = yield from self._core.retry(Request("POST", "auth/viewer"))
            token = viewer["access_token"]
        self._token = token
        return token

    def read(self, text: str | bytes) -> Message | None:
        """Return the message, None if its type is unknown."""
        self._refused, self._failures = None, 0
        return parse_message(text)

    def delay(self, cause: Exception) -> float:
        """Return how many seconds to wait before the next connection.

        A refused token is replaced once. Raises a ScoreboardError if a retry cannot help.
        """
        error = _as_scoreboard_error(cause)
        if is_token_refused(error) and self._refused is None:
            self._refused = self._token
            return 0
        if not is_temporary(error):
            raise error
        delay = max(retry_delay(self._failures), error.retry_after)
        self._failures += 1
        log.warning("not connected (%s); next attempt in %.1f s", error, delay)
        return delay


def _as_scoreboard_error(error: Exception) -> ScoreboardError:
    if isinstance(error, ScoreboardError):
        return error
    if isinstance(error, InvalidStatus):
        response = error.response
        retry_after = response.headers.get("Retry-After")
        found = read_response(response.status_code, bytes(response.body or b""), retry_after)
        return found if isinstance(found, ScoreboardError) else unreachable(error)
    if isinstance(error, ConnectionClosed) and error.rcvd and error.rcvd.code == TOKEN_ENDED:
        return Unauthorized("The token has expired or was revoked.", "token_invalid")
    return unreachable(error)
