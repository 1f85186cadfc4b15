"""Handle Socket.IO clients: connect, authenticate, update_score, disconnect."""

import functools
import logging
import threading
from dataclasses import dataclass, field
from typing import Any

from flask import Flask
from flask_socketio import SocketIO
from socketio import packet
from socketio.exceptions import ConnectionRefusedError

from ...auth import tokens
from ...concurrency import runtime
from ...errors import NotAuthenticated, NotFound, ScoreboardError, translate
from ...http.request import event_client_info
from ...observability.metrics import SOCKET_IO
from ...services import services
from .. import hub
from ..backplane import LocalBackplane, RedisBackplane
from ..connections import LiveConnection
from ..websocket.connection import POLICY_VIOLATION, PROTOCOL_ERROR, SLOW
from . import engine, subscriptions, updates
from .packets import MAX_MESSAGE_SIZE, MalformedPacket, StrictPacket

log = logging.getLogger(__name__)

PATH, ROOM = "/ws/scoreboard", "scoreboard"
# Packets that may wait for a polling client before it is closed, about as for a WebSocket.
MAX_WAITING_PACKETS = 2000


@dataclass(eq=False, slots=True, kw_only=True)
class SocketIOClient(LiveConnection):
    """The connection of one Engine.IO session.

    `lock` is held while a connect or disconnect is handled. `update_slots` limits concurrent
    updates. `was_refused` is whether an update was refused since it was last reset. `board_ids` are
    the boards named at the handshake; None if it named none.
    """

    session: engine.EngineSession
    lock: threading.RLock = field(default_factory=threading.RLock)
    update_slots: threading.Semaphore | None = None
    was_refused: bool = False
    board_ids: list[str] | None = None


class SocketIOHandlers:
    """Handles the packets of all Socket.IO clients, under /ws/scoreboard/.

    Updates bypass python-socketio, which would create a request context for each.
    """

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._connections = services(app).connections
        self._clients: dict[str, SocketIOClient] = {}  # by Engine.IO session id
        services(app).socketio = SocketIO(
            app,
            path=PATH,
            async_mode=runtime.ASYNC_MODE,
            client_manager=self._manager(),
            serializer=StrictPacket,
            manage_session=False,
            max_http_buffer_size=MAX_MESSAGE_SIZE,
            monitor_clients=False,  # `close_dead_and_slow_clients` closes the clients that are gone
            # Origins are checked before, in websocket/endpoint.py, by the rule in http/origins.py.
            cors_allowed_origins="*",
            cors_credentials=False,
        )
        self._server = services(app).socketio.server
        self._engine = self._server.eio
        engine.install(self._engine)
        self._library_handlers = dict(self._engine.handlers)
        self._engine.on("connect", self._connect)
        self._engine.on("message", self._receive)
        self._engine.on("disconnect", self._disconnect)
        self._server.on("connect", self._authenticate)
        self._server.on("disconnect", self._unsubscribe)

    def _manager(self) -> Any:
        url, parts = self._app.config["REDIS_URL"], services(self._app)
        if not url:
            return LocalBackplane(self._subscribe)
        receive = functools.partial(hub.receive, parts.subscribers)
        return RedisBackplane(url, self._subscribe, receive, parts.metrics)

    def _connect(self, engine_sid: str, environ: dict[str, Any]) -> Any:
        """Register the connection, or return the error that Engine.IO sends."""
        on_slow = services(self._app).metrics.slow_clients.inc
        session = engine.EngineSession.adopt(
            self._engine.sockets[engine_sid], on_slow, lambda: self._connections.stopping
        )
        address = environ.get("REMOTE_ADDR", "unknown")
        client = SocketIOClient(
            address, SOCKET_IO, session=session, ping=session.ping, push=session.push
        )
        client.close = lambda code, reason: self._close(client, code, reason)
        client.close_transport = lambda code, reason: self._close_transport(client, code, reason)
        client.awaits_poll = lambda: session.awaits_poll
        try:
            self._connections.open(client)
        except ScoreboardError as error:
            return error
        self._clients[engine_sid] = client
        # Not `environ`: the library keeps this object as long as the connection.
        return self._library_handlers["connect"](engine_sid, {})

    def _receive(self, engine_sid: str, data: Any) -> None:
        client = self._clients.get(engine_sid)
        if client is None:
            return
        refusals = services(self._app).refusal_limiter
        try:
            if self._handle(client, data):
                return
        except MalformedPacket as error:
            log.warning("closing a connection that sent a malformed packet: %s", error)
            refusals.count(client.address)
            self._close_transport(client, PROTOCOL_ERROR, "malformed packet")
            return
        refusals.count(client.address)
        if refusals.is_blocked(client.address):
            self._close_transport(client, POLICY_VIOLATION, "too many refused packets")

    def _handle(self, client: SocketIOClient, data: Any) -> bool:
        """Handle a packet. Return False if it had no effect or an update was refused."""
        if not isinstance(data, str) or not data:
            # Engine.IO parses JSON; python-socketio takes empty data for a nameless event.
            raise MalformedPacket("no text")
        event = StrictPacket(encoded_packet=data)
        namespace = event.namespace or "/"
        if event.packet_type == packet.CONNECT and namespace != "/":
            self._refuse_namespace(client, namespace)
            return False
        # Serialized: with polling, a CLOSE can overtake the CONNECT before it.
        with client.lock:
            caller = client.caller
            if event.packet_type != packet.EVENT:
                self._library_handlers["message"](client.session.sid, data)
                return client.caller is not None and client.caller is not caller
        if not caller or namespace != "/":
            return False
        if event.data[0] in subscriptions.EVENTS:
            return subscriptions.handle(self._app, client, event)
        if event.data[0] != "update_score":
            return False
        updates.start(self._app, client, event)
        was_refused, client.was_refused = client.was_refused, False
        return not was_refused

    def _refuse_namespace(self, client: SocketIOClient, namespace: str) -> None:
        """Refuse a namespace with a code: clients cannot show the library's plain string."""
        text = "There is no such namespace: connect without one, to the path /ws/scoreboard."
        error = NotFound(text, "unknown_namespace")
        refusal = {"message": error.message, "data": error.detail()}
        sent = StrictPacket(packet.CONNECT_ERROR, data=refusal, namespace=namespace).encode()
        self._engine.send_packet(client.session.sid, engine.message(sent))

    def _disconnect(self, engine_sid: str, reason: str) -> None:
        if client := self._clients.get(engine_sid):
            self._remove(client)
            with client.lock:
                self._library_handlers["disconnect"](engine_sid, reason)

    def _authenticate(self, sid: str, environ: dict[str, Any], auth: Any = None) -> None:
        """Authenticate a client and admit its connection. Raises ConnectionRefusedError.

        Every error is a refusal: python-socketio calls a handler that raises TypeError again,
        without the token, and would admit the client if that call succeeded.
        """
        try:
            values = auth if isinstance(auth, dict) else {}
            sent = values.get("token")
            token = sent if isinstance(sent, str) else ""
            client = self._client(sid)
            address = client.address if client else "unknown"
            with self._app.app_context():
                caller = tokens.authenticate(token, event_client_info(address))
                board_ids = hub.named_boards(values.get("boards"), caller)
            if client is None:
                raise NotAuthenticated("This connection has ended.")
            self._connections.admit(client, caller, token)
            client.board_ids = board_ids
        except Exception as error:
            refused = translate(error)
            raise ConnectionRefusedError(refused.message, refused.detail()) from error

    def _subscribe(self, sid: str) -> None:
        """Subscribe a client that has received its CONNECT packet."""
        if client := self._client(sid):
            self._server.enter_room(sid, ROOM)
            hub.subscribe(self._app, client, client.board_ids)

    def _unsubscribe(self, sid: str, reason: str = "") -> None:
        """Unsubscribe a disconnected client, which has seconds to close the transport as well."""
        if client := self._client(sid):
            self._connections.leave(client)
            services(self._app).subscribers.remove(client)

    def close_dead_and_slow_clients(self, app: Flask) -> None:
        """Close the clients that are gone or too slow to poll. Yields to the loop."""
        for engine_sid, session in runtime.yielding(self._engine.sockets.items()):
            client = self._clients.get(engine_sid)
            if session.closed:
                self._engine.sockets.pop(engine_sid, None)
            elif client and session.queue.qsize() > MAX_WAITING_PACKETS:
                session.on_slow()
                self._close_transport(client, SLOW, "too slow")
            elif not session.closing and not session.check_ping_timeout():
                runtime.yield_to_loop()  # hundreds may time out at once

    def _close(self, client: SocketIOClient, code: int, reason: str) -> None:
        """Send an admitted client a DISCONNECT packet; otherwise, or again, close the transport."""
        sid = self._server.manager.sid_from_eio_sid(client.session.sid, "/")
        if sid and client.caller:
            self._connections.leave(client)
            self._server.disconnect(sid)
        else:
            self._close_transport(client, code, reason)

    def _close_transport(self, client: SocketIOClient, code: int, reason: str) -> None:
        if client.session.websocket:
            client.session.websocket.close(code, reason)
        client.session.close()
        self._remove(client)

    def _remove(self, client: SocketIOClient) -> None:
        self._clients.pop(client.session.sid, None)
        self._connections.drop(client)
        services(self._app).subscribers.remove(client)

    def _client(self, sid: str) -> SocketIOClient | None:
        """Return the client with this Socket.IO id, or None if its session has ended."""
        return self._clients.get(self._server.manager.eio_sid_from_sid(sid, "/"))
