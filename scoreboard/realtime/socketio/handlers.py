"""Handles Socket.IO clients: connect, authenticate, update_score, disconnect."""

import contextlib
import logging
import threading
from dataclasses import dataclass, field
from typing import Any

from engineio.exceptions import SocketIsClosedError
from flask import Flask
from flask_socketio import SocketIO
from socketio import packet
from socketio.exceptions import ConnectionRefusedError

from ...auth import tokens
from ...concurrency import runtime
from ...errors import NotAuthenticated, NotFound, ScoreboardError, translate
from ...http.refusal_limiter import RefusalLimiter
from ...observability.metrics import SOCKET_IO
from ...services import services
from .. import hub
from ..backplane import LocalBackplane, RedisBackplane
from ..connections import Connection
from ..websocket import connection as websocket
from . import engine, updates
from .packets import MAX_MESSAGE_SIZE, MalformedPacket, StrictPacket

log = logging.getLogger(__name__)

PATH = "/ws/scoreboard"
ROOM = "scoreboard"
# Packets that may wait for a polling client before it is closed, about as for a WebSocket.
MAX_WAITING_PACKETS = 2000


def init_app(app: Flask) -> None:
    """Serve Socket.IO under /ws/scoreboard/."""
    door = SocketIOHandlers(app)
    socketio = services(app).socketio = SocketIO(
        app,
        path=PATH,
        async_mode=runtime.ASYNC_MODE,
        client_manager=_manager(app, door),
        serializer=StrictPacket,
        manage_session=False,
        max_http_buffer_size=MAX_MESSAGE_SIZE,
        # `close_dead_clients` closes the clients that are gone.
        monitor_clients=False,
        # Origins are checked before, in websocket/endpoint.py, by the rule in http/origins.py.
        cors_allowed_origins="*",
        cors_credentials=False,
    )
    door.listen(socketio.server)
    services(app).connections.on_sweep(door.close_dead_clients)


def _manager(app: Flask, door: "SocketIOHandlers") -> Any:
    if not app.config["REDIS_URL"]:
        return LocalBackplane(door.welcome)
    metrics, feed = services(app).metrics, services(app).feed
    return RedisBackplane(app.config["REDIS_URL"], door.welcome, feed.offer, metrics)


@dataclass(eq=False, slots=True, kw_only=True)
class _Session(Connection):
    """One Engine.IO session, authenticated or not.

    `socket` is python-engineio's session. `turn` is held while a connect or disconnect is handled.
    `room` limits concurrent updates. `refused`: whether one was refused since `_take` reset it.
    """

    socket: Any
    turn: threading.RLock = field(default_factory=threading.RLock)
    room: threading.Semaphore | None = None
    refused: bool = False


class SocketIOHandlers:
    """Handles the packets of all Socket.IO clients.

    Connects and disconnects go through python-socketio; updates do not, because the library would
    create a request context and look up a handler for each.
    """

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._refusals: RefusalLimiter = services(app).refusal_limiter
        self._open: dict[str, _Session] = {}

    def listen(self, server: Any) -> None:
        """Register the handlers for the events of Engine.IO and Socket.IO."""
        self._server, self._engine = server, server.eio
        engine.install(self._engine, services(self._app).metrics.slow_clients.inc)
        self._inner = dict(self._engine.handlers)
        self._engine.on("connect", self._connected)
        self._engine.on("message", self._message)
        self._engine.on("disconnect", self._disconnected)
        self._send_packet, self._engine.send_packet = self._engine.send_packet, self._send
        server.on("connect", self._admit)
        server.on("disconnect", self._leave)

    def _send(self, engine_sid: str, packet: Any) -> None:
        """Send a packet to one client. If it has just gone, do not fail the broadcast."""
        with contextlib.suppress(SocketIsClosedError):
            self._send_packet(engine_sid, packet)

    def _connected(self, engine_sid: str, environ: dict[str, Any]) -> Any:
        """Register the connection, or return the error that Engine.IO answers with."""
        socket = self._engine.sockets[engine_sid]
        session = _Session(
            environ.get("REMOTE_ADDR", "unknown"),
            SOCKET_IO,
            close=lambda code, why: self._close(engine_sid, code, why),
            close_transport=lambda code, why: self._close_transport(engine_sid, code, why),
            ping=lambda: socket.ping(),
            socket=socket,
        )
        try:
            services(self._app).connections.open(session)
        except ScoreboardError as error:
            return error
        self._open[engine_sid] = session
        engine.before_connect(socket)
        # Not `environ`: the library keeps this object as long as the connection.
        return self._inner["connect"](engine_sid, {})

    def _message(self, engine_sid: str, data: Any) -> None:
        session = self._open.get(engine_sid)
        if session is None:
            return
        try:
            if not isinstance(data, str) or not data:
                # Engine.IO parses JSON; python-socketio takes empty data for a nameless event.
                raise MalformedPacket("no text")
            if not self._take(engine_sid, session, data):
                self._refusals.count(session.address)
                if self._refusals.is_blocked(session.address):
                    self._close_transport(
                        engine_sid, websocket.POLICY_VIOLATION, "too many refused packets"
                    )
        except MalformedPacket as error:
            log.warning("closing a connection that sent a malformed packet: %s", error)
            self._refusals.count(session.address)
            self._close_transport(engine_sid, 1002, "malformed packet")

    def _take(self, engine_sid: str, session: _Session, data: Any) -> bool:
        """Handle a packet. Return False if it had no effect or an update was refused."""
        event = StrictPacket(encoded_packet=data)
        if event.packet_type == packet.CONNECT and event.namespace not in (None, "/"):
            self._refuse_namespace(engine_sid, event.namespace)
            return False
        # Serialized: with polling, a CLOSE can overtake the CONNECT before it.
        with session.turn:
            caller = session.caller
            if event.packet_type != packet.EVENT:
                self._inner["message"](engine_sid, data)
                return session.caller is not None and session.caller is not caller
        if not caller or event.data[0] != "update_score" or event.namespace not in (None, "/"):
            return False
        updates.submit(self._app, session, event)
        refused, session.refused = session.refused, False
        return not refused

    def _refuse_namespace(self, engine_sid: str, namespace: str) -> None:
        """Refuse to connect a client to a namespace other than the main one.

        python-socketio sends a plain string, which clients show without a message or a code.
        """
        error = NotFound(
            "There is no such namespace: connect without one, to the path /ws/scoreboard.",
            "unknown_namespace",
        )
        refusal = {"message": error.message, "data": error.detail()}
        text = StrictPacket(packet.CONNECT_ERROR, data=refusal, namespace=namespace).encode()
        self._send(engine_sid, engine.message(text))

    def _disconnected(self, engine_sid: str, reason: str) -> None:
        session = self._open.get(engine_sid)
        self._forget(engine_sid)
        if session:
            with session.turn:
                self._inner["disconnect"](engine_sid, reason)
            hub.unsubscribe(self._app, session.socket.queue)
            engine.disconnected(session.socket)

    def _admit(self, sid: str, environ: dict[str, Any], auth: Any = None) -> None:
        """Authenticate a client and admit its connection. Raises ConnectionRefusedError.

        Every error is a refusal: python-socketio calls a handler that raises TypeError again,
        without the token, and would admit the client if that call succeeded.
        """
        try:
            sent = auth.get("token") if isinstance(auth, dict) else None
            token = sent if isinstance(sent, str) else ""
            session = self._session(sid)
            with self._app.app_context():
                caller = tokens.authenticate(token)
            if session is None:
                raise NotAuthenticated("This connection has ended.")
            services(self._app).connections.admit(session, caller, token)
        except Exception as error:
            told = translate(error)
            raise ConnectionRefusedError(told.message, told.detail()) from error

    def welcome(self, sid: str) -> None:
        """Subscribe a client that has received its CONNECT packet."""
        session = self._session(sid)
        if session:
            self._server.enter_room(sid, ROOM)
            hub.subscribe_socket(self._app, session.socket.queue)

    def _leave(self, sid: str, reason: str = "") -> None:
        """Unsubscribe a disconnected client, which has seconds to close the transport as well."""
        session = self._session(sid)
        if session:
            hub.unsubscribe(self._app, session.socket.queue)
            services(self._app).connections.leave(session)

    def close_dead_clients(self) -> None:
        """Close the clients that are gone or too slow to poll. Yields to the loop."""
        for engine_sid, socket in runtime.yielding(self._engine.sockets.items()):
            if socket.closed:
                self._engine.sockets.pop(engine_sid, None)
            elif socket.queue.qsize() > MAX_WAITING_PACKETS:
                services(self._app).metrics.slow_clients.inc()
                self._close_transport(engine_sid, websocket.SLOW, "too slow")
            elif not socket.closing:
                with contextlib.suppress(SocketIsClosedError):
                    if not socket.check_ping_timeout():
                        runtime.yield_to_loop()  # hundreds may time out at once

    def _close(self, engine_sid: str, code: int, reason: str) -> None:
        """Send an admitted client a DISCONNECT packet; otherwise, or again, close the transport."""
        session = self._open.get(engine_sid)
        if session and session.caller:
            sid = self._server.manager.sid_from_eio_sid(engine_sid, "/")
            services(self._app).connections.leave(session)
            self._server.disconnect(sid)
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
        session = self._open.pop(engine_sid, None)
        if session:
            services(self._app).connections.drop(session)

    def _session(self, sid: str) -> _Session | None:
        """Return the client's session, or None if it has ended."""
        return self._open.get(self._server.manager.eio_sid_from_sid(sid, "/"))
