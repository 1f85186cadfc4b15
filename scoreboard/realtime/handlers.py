"""The Socket.IO door: connect, authenticate, update_score, disconnect."""

import contextlib
import logging
from typing import Any

from engineio.exceptions import SocketIsClosedError
from flask import Flask, current_app, request
from flask_socketio import ConnectionRefusedError

from .. import audit, metrics, requests
from ..auth import tokens
from ..errors import NotAuthenticated, ScoreboardError, Stopping, translate
from ..extensions import socketio
from ..scores import service
from . import broadcast, transport, websocket
from .connections import Connection
from .messenger import Alone, Messenger
from .packets import LONGEST_MESSAGE, EngineWebSocket, MalformedPacket, StrictPacket

log = logging.getLogger(__name__)

PATH = "/ws/scoreboard"
# Packets that a polling client may be behind: as far as a WebSocket may be, about.
MOST_WAITING = 2000


def init_app(app: Flask) -> None:
    """Serve Socket.IO under /ws/scoreboard/."""
    origins = list(app.config["CORS_ORIGINS"])
    socketio.init_app(
        app,
        path=PATH,
        async_mode=transport.ASYNC_MODE,
        client_manager=_manager(app),
        serializer=StrictPacket,
        manage_session=False,
        max_http_buffer_size=LONGEST_MESSAGE,
        # None: only our own pages, which Engine.IO knows by the Host header.
        cors_allowed_origins="*" if "*" in origins else (origins or None),
        cors_credentials=False,
    )
    transport.use_websockets(app, EngineWebSocket)
    engine = _Engine(app)
    engine.listen()
    app.extensions["connections"].with_each_sweep(engine.close_slow)


def _manager(app: Flask) -> Any:
    def welcome(sid: str) -> None:
        broadcast.welcome_socket(app, sid)

    if not app.config["REDIS_URL"]:
        return Alone(welcome)
    return Messenger(app.config["REDIS_URL"], welcome, app.extensions["feed"].offer)


class _Engine:
    """What we watch of Engine.IO below Socket.IO: every connection, authenticated or not."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._engine = app.extensions["socketio"].server.eio
        self._inner = dict(self._engine.handlers)
        self._open: dict[str, Connection] = app.extensions.setdefault("engine_connections", {})

    def listen(self) -> None:
        """Take the events that the library has taken, and hand them on."""
        self._engine.on("connect", self._connected)
        self._engine.on("message", self._message)
        self._engine.on("disconnect", self._disconnected)
        self._send_packet, self._engine.send_packet = self._engine.send_packet, self._send

    def _send(self, engine_sid: str, packet: Any) -> None:
        """Send to one; that it has gone this moment is no reason for the others to miss out."""
        with contextlib.suppress(SocketIsClosedError):
            self._send_packet(engine_sid, packet)

    def _connected(self, engine_sid: str, environ: dict[str, Any]) -> Any:
        """Take the connection in, or return why not: Engine.IO then answers 401 with that."""
        address = environ.get("REMOTE_ADDR", "unknown")
        connection = Connection(
            address,
            metrics.SOCKET_IO,
            close=lambda code, why: self._close(engine_sid, code, why),
            hang_up=lambda code, why: self._close_transport(engine_sid, code, why),
        )
        try:
            self._app.extensions["connections"].open(connection)
        except ScoreboardError as error:
            return error.body()
        self._open[engine_sid] = connection
        return self._inner["connect"](engine_sid, environ)

    def _message(self, engine_sid: str, data: Any) -> None:
        connection = self._open.get(engine_sid)
        if connection is None:
            return
        try:
            if not data:
                # The library would take it for an event without even a name.
                raise MalformedPacket("an empty packet")
            # One at a time: with polling, a CLOSE can overtake the CONNECT that it follows.
            with connection.turn:
                self._inner["message"](engine_sid, data)
        except MalformedPacket as error:
            log.warning("closing a connection that sent a malformed packet: %s", error)
            self._close_transport(engine_sid, 1002, "malformed packet")

    def _disconnected(self, engine_sid: str, reason: str) -> None:
        connection = self._open.get(engine_sid)
        self._forget(engine_sid)
        if connection:
            with connection.turn:
                self._inner["disconnect"](engine_sid, reason)

    def close_slow(self) -> None:
        """Close the polling clients that do not come for what waits for them."""
        for engine_sid, socket in list(self._engine.sockets.items()):
            if not socket.upgraded and socket.queue.qsize() > MOST_WAITING:
                metrics.SLOW_CLIENTS.inc()
                self._close_transport(engine_sid, websocket.SLOW, "too slow")

    def _close(self, engine_sid: str, code: int, reason: str) -> None:
        """Disconnect the client by the protocol first; called again, close the transport."""
        connection = self._open.get(engine_sid)
        if connection and connection.caller:
            sid = socketio.server.manager.sid_from_eio_sid(engine_sid, "/")
            self._app.extensions["connections"].leave(connection)
            socketio.server.disconnect(sid)
        else:
            self._close_transport(engine_sid, code, reason)

    def _close_transport(self, engine_sid: str, code: int, reason: str) -> None:
        socket = self._engine.sockets.get(engine_sid)
        if socket is None or socket.closed:
            self._forget(engine_sid)
            return
        if hasattr(socket, "websocket"):
            socket.websocket.close(code, reason)
        socket.close(wait=False)

    def _forget(self, engine_sid: str) -> None:
        connection = self._open.pop(engine_sid, None)
        if connection:
            self._app.extensions["connections"].drop(connection)


@socketio.on("connect")
def connect(auth: Any = None) -> None:
    """Admit the holder of a good access token.

    Whatever goes wrong is a refusal: Flask-SocketIO would call a handler that raised TypeError
    again, without the token, and python-socketio would let in whom it then found fit.
    """
    try:
        token = auth.get("token") if isinstance(auth, dict) else None
        caller = tokens.authenticate(token if isinstance(token, str) else None)
        connection = _connection()
        if connection is None:
            raise NotAuthenticated("This connection has ended.")
        current_app.extensions["connections"].admit(connection, caller, token)
    except Exception as error:
        told = translate(error)
        raise ConnectionRefusedError(told.message, told.detail()) from error


@socketio.on("update_score")
def update_score(body: Any = None, *more: Any) -> dict[str, Any]:
    """Submit an update as `POST /api/score/update` does; acknowledge status and body."""
    origin = requests.event_origin()
    try:
        if current_app.extensions["connections"].stopping:
            with audit.attempt(origin, lambda attempt: None):  # no fault of the client's
                raise Stopping
        connection = _connection()
        token = connection.token if connection else None
        return {"status": 200, "body": service.submit(body, token, origin)}
    except Exception as error:
        told = translate(error)
        return {"status": told.status, "body": told.body()}


@socketio.on("disconnect")
def disconnect(reason: str = "") -> None:
    """Give a client that has signed off seconds to close the transport as well."""
    connection = _connection()
    if connection:
        current_app.extensions["connections"].leave(connection)


def _connection() -> Connection | None:
    """Return the connection that the present event came by, or None if it has ended."""
    engine_sid = socketio.server.manager.eio_sid_from_sid(request.sid, "/")  # type: ignore[attr-defined]
    found: Connection | None = current_app.extensions["engine_connections"].get(engine_sid)
    return found
