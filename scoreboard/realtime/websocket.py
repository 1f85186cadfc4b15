"""A WebSocket on the server's side: frames by wsproto, never waiting for a slow reader."""

import contextlib
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Message, Ping, TextMessage
from wsproto.frame_protocol import FrameProtocol
from wsproto.utilities import LocalProtocolError, generate_accept_token

from .. import metrics
from . import transport

# What a viewer may be behind before it is closed: some thousand boards. The frames themselves
# are shared, so that a thousand slow viewers of the same messages hold them once.
MOST_BEHIND = 1024 * 1024
# Nothing heard for this long, pings unanswered, and the other side is gone.
SILENCE_SECONDS = 60
# How long the other side has to answer a close.
CLOSE_SECONDS = 5

SLOW = 4408
TOO_BIG = 1009
PROTOCOL_ERROR = 1002

StartResponse = Callable[..., Any]


def text_frame(text: str) -> bytes:
    """Return the text as one frame, the same bytes for every viewer: servers do not mask."""
    return bytes(FrameProtocol(client=False, extensions=[]).send_data(text))


def is_upgrade(environ: transport.WsgiEnvironment) -> bool:
    """Whether the request asks, as RFC 6455 has it, to become a WebSocket."""
    tokens = [part.strip() for part in environ.get("HTTP_CONNECTION", "").lower().split(",")]
    key = environ.get("HTTP_SEC_WEBSOCKET_KEY", "")
    return (
        "upgrade" in tokens
        and environ.get("HTTP_UPGRADE", "").lower() == "websocket"
        and environ.get("HTTP_SEC_WEBSOCKET_VERSION") == "13"
        and bool(key)
        and key.isascii()
    )


def serve(
    environ: transport.WsgiEnvironment,
    start_response: StartResponse,
    handler: Callable[["WebSocket"], object],
    longest_message: int,
    subprotocol: str | None = None,
) -> Iterable[bytes]:
    """Answer the handshake and run `handler` with the WebSocket until it returns.

    No extension is ever accepted: compressing our small messages costs more than it saves, and
    memory for each viewer. Raises ConnectionError under `flask run`, as its server expects.
    """
    if not is_upgrade(environ):
        start_response("426 Upgrade Required", [("Sec-WebSocket-Version", "13")])
        return [b""]
    answer = [
        b"HTTP/1.1 101 Switching Protocols",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Accept: "
        + generate_accept_token(environ["HTTP_SEC_WEBSOCKET_KEY"].encode()),
    ]
    if subprotocol:
        answer.append(b"Sec-WebSocket-Protocol: " + subprotocol.encode())
    connection = transport.socket_of(environ)
    try:
        connection.settimeout(SILENCE_SECONDS)
        connection.sendall(b"\r\n".join([*answer, b"", b""]))
        websocket = WebSocket(connection, longest_message)
        handler(websocket)
        websocket.end()
    except OSError:
        pass  # the client is gone, which is how most connections end
    return transport.finish(environ)


class WebSocket:
    """One open WebSocket. `push` and `close` may be called from anywhere and never wait."""

    def __init__(self, connection: Any, longest_message: int) -> None:
        self._connection = connection
        self._longest = longest_message
        self._protocol = Connection(ConnectionType.SERVER)
        self._lock = threading.Lock()
        self._behind: deque[bytes] = deque()
        self._bytes_behind = 0
        self._draining = False
        self._closing = False
        self._aborted = False
        self._over = False

    def push(self, frames: bytes) -> None:
        """Send whole frames as soon as the other side takes them; one too far behind is closed."""
        with self._lock:
            if not self._closing:
                self._send(frames)

    def send(self, message: str | bytes) -> None:
        """Send one message. The name and form that Engine.IO asks of a WebSocket."""
        if self._closing:
            raise OSError("the WebSocket is closed")
        if isinstance(message, str):
            self.push(text_frame(message))
        else:
            with self._lock:
                self._send(self._protocol.send(BytesMessage(message)))

    def ping(self) -> None:
        """Ask for a sign of life; without any for SILENCE_SECONDS the connection ends."""
        with self._lock:
            if not self._closing:
                self._send(self._protocol.send(Ping()))

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Say goodbye and end the connection, within CLOSE_SECONDS if the other side is silent."""
        with self._lock:
            if not self._closing:
                self._close(code, reason)

    def wait(self) -> str | bytes | None:
        """Return the next message, or None when the connection has ended, for whatever reason."""
        parts: list[Any] = []
        size = 0
        while True:
            for event in self._protocol.events():
                if isinstance(event, Message) and not self._closing:
                    parts.append(event.data)
                    size += len(event.data)
                    if size > self._longest:
                        self.close(TOO_BIG, "message too big")
                    elif event.message_finished:
                        return self._joined(event, parts)
                elif not self._answer(event):
                    return None
            if not self._receive():
                return None

    def end(self) -> None:
        """Say goodbye, if nobody has, and let the server have the socket back."""
        self.close()
        self._over = True

    def _joined(self, event: Message[Any], parts: list[Any]) -> str | bytes:
        return "".join(parts) if isinstance(event, TextMessage) else b"".join(parts)

    def _receive(self) -> bool:
        """Read what has arrived. Return False if nothing more will, or shall."""
        if self._aborted:
            return False  # though there may always be more, from one who never stops sending
        try:
            transport.give_way()
            data = self._connection.recv(4096)
            self._protocol.receive_data(data or None)
        except (OSError, LocalProtocolError):
            return False
        return bool(data)

    def _answer(self, event: Event) -> bool:
        """Answer a control frame. Return False if it ends the connection."""
        if isinstance(event, Ping):
            with self._lock:
                if not self._closing:
                    self._send(self._protocol.send(event.response()))
        elif isinstance(event, CloseConnection):
            with self._lock:
                if not self._closing:
                    self._closing = True
                    self._send(self._closing_frame(event.code, ""))
            return False
        return True

    def _closing_frame(self, code: int, reason: str) -> bytes:
        try:
            return bytes(self._protocol.send(CloseConnection(code, reason)))
        except LocalProtocolError:
            return b""

    def _close(self, code: int, reason: str) -> None:
        """Queue the close frame behind nothing but the frame that is half sent."""
        self._closing = True
        while len(self._behind) > 1:
            self._bytes_behind -= len(self._behind.pop())
        self._send(self._closing_frame(code, reason))
        transport.after(CLOSE_SECONDS, self._abort)

    def _send(self, frames: bytes) -> None:
        if not self._draining:
            try:
                sent = transport.send_now(self._connection, frames)
            except OSError:
                self._abort()
                return
            if sent == len(frames):
                return
            frames = frames[sent:]
            self._draining = True
            transport.spawn(self._drain)
        if self._bytes_behind + len(frames) > MOST_BEHIND and not self._closing:
            metrics.SLOW_CLIENTS.inc()
            self._close(SLOW, "too slow")
        else:
            self._behind.append(frames)
            self._bytes_behind += len(frames)

    def _drain(self) -> None:
        """Send what is queued, waiting for the other side to take it."""
        while True:
            with self._lock:
                if not self._behind:
                    self._draining = False
                    return
                frames = self._behind[0]
            try:
                self._connection.sendall(frames)
            except OSError:
                self._abort()
                return
            with self._lock:
                self._bytes_behind -= len(self._behind.popleft())

    def _abort(self) -> None:
        """End the connection without a word: whoever waits on the socket wakes up."""
        self._closing = self._aborted = True
        if not self._over:
            with contextlib.suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)
