"""Plain WebSocket endpoint: subscribes clients to the board without a Socket.IO library."""

import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qs

from flask import Flask, request

from ...auth import tokens
from ...concurrency import runtime
from ...errors import Forbidden, ScoreboardError, UpgradeRequired, translate
from ...http import request as requests
from ...http.responses import refuse
from ...observability.metrics import WEBSOCKET
from ...permissions import Caller
from ...services import services
from .. import hub
from ..connections import Connection
from . import connection as websocket
from . import handshake

PATH = "/ws/scoreboard"
SUBPROTOCOL = "scoreboard"
# In bytes. Messages from clients have no meaning here: they are read and dropped.
MAX_MESSAGE_SIZE = 4096
# Engine.IO session ids.
SESSION = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


def middleware(app: Flask, inner: Any) -> Any:
    """Serve the plain WebSocket in front of the application, and check Socket.IO requests.

    This is not a route, because a route's request context, and all that it refers to, would live
    as long as the connection.
    """
    return _WebSocketEndpoint(app, inner)


class _WebSocketEndpoint:
    def __init__(self, app: Flask, inner: Any) -> None:
        self._app = app
        self._inner = inner

    def __call__(self, environ: runtime.WsgiEnvironment, start_response: Any) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path.startswith(f"{PATH}/"):
            return self._socket_io(environ, start_response)
        if path != PATH or environ["REQUEST_METHOD"] != "GET":
            return self._inner(environ, start_response)
        if not handshake.is_upgrade(environ):
            return refuse(UpgradeRequired(), start_response)
        connections = services(self._app).connections
        connection = Connection(environ.get("REMOTE_ADDR", "unknown"), WEBSOCKET)
        try:
            with self._app.request_context(environ):
                token, subprotocol = _token()
                caller = _admissible(self._app, token)
            connections.open(connection)
            connections.admit(connection, caller, token)
            return handshake.serve(
                environ,
                start_response,
                lambda opened: self._watch(opened, connection),
                MAX_MESSAGE_SIZE,
                subprotocol,
            )
        except ConnectionError:
            raise  # signals the end of the WebSocket to the server of `flask run`
        except Exception as error:
            connections.drop(connection)
            return refuse(translate(error), start_response)

    def _socket_io(self, environ: runtime.WsgiEnvironment, start_response: Any) -> Iterable[bytes]:
        try:
            services(self._app).origins.require(environ)
        except Forbidden as error:
            return refuse(error, start_response)
        ended = ScoreboardError("This session has ended.", "session_ended")
        query = parse_qs(environ.get("QUERY_STRING", ""))
        if "sid" in query and not SESSION.fullmatch(query["sid"][0]):
            # Engine.IO would repeat it in its response, with up to six bytes for one.
            return refuse(ended, start_response)
        if _names_websocket(environ, query) and not handshake.is_upgrade(environ):
            # Engine.IO would treat it as polling, and answer a new session without a status.
            return refuse(UpgradeRequired(), start_response)
        try:
            response: Iterable[bytes] = self._inner(environ, start_response)
            return response
        except KeyError:
            # Engine.IO raises this for a session that ended while the request arrived.
            return refuse(ended, start_response)

    def _watch(self, opened: websocket.WebSocket, connection: Connection) -> None:
        """Subscribe the client until the connection ends. Blocks while the feed reads."""

        def ended() -> None:
            hub.unsubscribe(self._app, opened)
            services(self._app).connections.drop(connection)

        opened.received, opened.ended = opened.count_useless_frame, ended
        opened.on_slow = services(self._app).metrics.slow_clients.inc
        connection.close = connection.close_transport = opened.close
        connection.ping, connection.ping_seconds = opened.ping, websocket.PING_INTERVAL
        try:
            hub.subscribe_websocket(self._app, opened)
        except Exception as error:
            opened.close(websocket.INTERNAL_ERROR, translate(error).code)


def _names_websocket(environ: runtime.WsgiEnvironment, query: dict[str, list[str]]) -> bool:
    """Whether an Engine.IO request names the WebSocket transport."""
    transports = query.get("transport", [""])
    return environ["REQUEST_METHOD"] == "GET" and transports[0] == "websocket"


def _token() -> tuple[str, str | None]:
    """Return the token, "" if there is none, and the subprotocol of the response.

    The token is in the query, in the Authorization header (which browsers cannot set), or the
    second subprotocol after `scoreboard`.
    """
    offered = [
        part.strip() for part in request.headers.get("Sec-WebSocket-Protocol", "").split(",")
    ]
    subprotocol = SUBPROTOCOL if SUBPROTOCOL in offered else None
    token = parse_qs(request.query_string.decode("latin-1")).get("token", [""])[0]
    if not token:
        token = requests.bearer_token() or ""
    if not token and len(offered) > 1 and offered[0] == SUBPROTOCOL:
        token = offered[1]
    return token, subprotocol


def _admissible(app: Flask, token: str) -> Caller:
    """Return the caller. Raises NotAuthenticated for a bad token, Forbidden for a bad origin."""
    caller = tokens.authenticate(token)
    services(app).origins.require(request.environ)
    return caller
