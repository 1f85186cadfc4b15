"""The plain WebSocket endpoint, for clients without a Socket.IO library."""

import re
from collections.abc import Iterable
from functools import partial
from urllib.parse import parse_qs
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Flask, request

from ...auth import tokens
from ...errors import ScoreboardError, UpgradeRequired, translate
from ...http.request import bearer_token
from ...http.responses import refuse
from ...observability.metrics import WEBSOCKET
from ...services import services
from .. import hub
from ..connections import LiveConnection
from .connection import INTERNAL_ERROR, PING_INTERVAL, WebSocket, is_handshake, serve

PATH = "/ws/scoreboard"
SUBPROTOCOL = "scoreboard"
# In bytes. Messages from clients have no meaning here: they are read and dropped.
MAX_MESSAGE_SIZE = 4096
ENGINE_IO_SESSION_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


class WebSocketMiddleware:
    """Serves the plain WebSocket in front of the application, and checks Socket.IO requests.

    This is not a route, because a route's request context would live as long as the connection.
    """

    def __init__(self, app: Flask, inner: WSGIApplication) -> None:
        self._app = app
        self._inner = inner

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Handle one request. Blocks until the end of the WebSocket under `flask run`."""
        path = environ.get("PATH_INFO", "")
        if path.startswith(f"{PATH}/"):
            return self._socket_io(environ, start_response)
        if path != PATH or environ["REQUEST_METHOD"] != "GET":
            return self._inner(environ, start_response)
        if not is_handshake(environ):
            return refuse(UpgradeRequired(), start_response)
        connections = services(self._app).connections
        connection = LiveConnection(environ.get("REMOTE_ADDR", "unknown"), WEBSOCKET)
        try:
            with self._app.request_context(environ):
                token, subprotocol = _token()
                caller = tokens.authenticate(token)
                board_ids = hub.named_boards(_boards(environ), caller)
            services(self._app).origins.require(environ)
            connections.open(connection)
            connections.admit(connection, caller, token)
            start = partial(self._start, connection, board_ids)
            return serve(environ, start, MAX_MESSAGE_SIZE, subprotocol)
        except ConnectionError:
            raise  # signals the end of the WebSocket to the server of `flask run`
        except Exception as error:
            connections.drop(connection)
            return refuse(translate(error), start_response)

    def _socket_io(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        """Pass a request to Engine.IO, except those to which it would respond incorrectly."""
        ended = ScoreboardError("This session has ended: connect again.", "session_ended")
        query = parse_qs(environ.get("QUERY_STRING", ""))
        names_websocket = query.get("transport", [""])[0] == "websocket"
        try:
            services(self._app).origins.require(environ)
            if "sid" in query and not ENGINE_IO_SESSION_ID.fullmatch(query["sid"][0]):
                # Engine.IO would repeat it in its response, with up to six bytes for one.
                raise ended
            is_get = environ["REQUEST_METHOD"] == "GET"
            if is_get and names_websocket and not is_handshake(environ):
                # Engine.IO would treat it as polling, and respond to it without a status.
                raise UpgradeRequired
            return self._inner(environ, start)
        except ScoreboardError as error:
            return refuse(error, start)
        except KeyError:
            # Engine.IO raises this for a session that ended while the request arrived.
            return refuse(ended, start)

    def _start(
        self, connection: LiveConnection, board_ids: list[str] | None, opened: WebSocket
    ) -> None:
        """Subscribe the client until the connection ends. Blocks while the feed reads."""

        def end() -> None:
            services(self._app).connections.drop(connection)
            services(self._app).subscribers.remove(connection)

        opened.on_message, opened.on_end = opened.count_useless_frame, end
        opened.on_slow = services(self._app).metrics.slow_clients.inc
        connection.close = connection.close_transport = opened.close
        connection.ping, connection.ping_interval = opened.ping, PING_INTERVAL
        connection.push = opened.push
        try:
            hub.subscribe(self._app, connection, board_ids)
        except Exception as error:
            opened.close(INTERNAL_ERROR, translate(error).code)


def _boards(environ: WSGIEnvironment) -> list[str] | None:
    """Return the boards that the query names, separated by commas; None if it has no `board`."""
    query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
    return ",".join(query["board"]).split(",") if "board" in query else None


def _token() -> tuple[str, str | None]:
    """Return the token, "" if there is none, and the subprotocol of the response.

    The token is in the query, the Authorization header, or the second subprotocol.
    """
    protocols = request.headers.get("Sec-WebSocket-Protocol", "")
    offered = [part.strip() for part in protocols.split(",")]
    token = parse_qs(request.query_string.decode("latin-1")).get("token", [""])[0]
    token = token or bearer_token() or ""
    if not token and len(offered) > 1 and offered[0] == SUBPROTOCOL:
        token = offered[1]
    return token, SUBPROTOCOL if SUBPROTOCOL in offered else None
