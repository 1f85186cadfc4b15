"""The server side of a WebSocket: handshake, frames by wsproto, sending without blocking.

A client that reads too slowly is closed.
"""

import contextlib
import logging
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable
from sys import getsizeof
from typing import Any
from wsgiref.types import WSGIEnvironment

import wsproto.connection
from wsproto.events import CloseConnection, Event, Message, Ping, Pong, TextMessage
from wsproto.utilities import LocalProtocolError, generate_accept_token

from ...concurrency import runtime
from ..useless_traffic import UselessTraffic

log = logging.getLogger(__name__)

# Bytes of memory that may wait for a client before it is closed: some thousand boards. The frames
# are shared, so a thousand slow clients that get the same messages hold them once.
MAX_BACKLOG_BYTES = 1024 * 1024
PING_INTERVAL = 12
# Seconds without data from the client before it is closed.
SILENCE_TIMEOUT = 40
# Frames handled before yielding to the loop; hundreds may arrive in one read.
FRAMES_PER_YIELD = 16
# Limits for a client that has been sent a close frame: seconds to close, and bytes to discard.
CLOSE_TIMEOUT = 5
MAX_DISCARDED_BYTES = 256 * 1024

# Close codes: ours, and those of RFC 6455, section 7.4.1.
SLOW = 4408
PROTOCOL_ERROR, POLICY_VIOLATION, TOO_BIG, INTERNAL_ERROR = 1002, 1008, 1009, 1011


def text_frame(text: str) -> bytes:
    """Return the text as one frame. Servers do not mask, so all clients share the same bytes."""
    data = text.encode()
    length = len(data)
    if length < 126:
        return b"\x81" + length.to_bytes(1, "big") + data
    if length < 65536:
        return b"\x81\x7e" + length.to_bytes(2, "big") + data
    return b"\x81\x7f" + length.to_bytes(8, "big") + data


class WebSocket:
    """One open WebSocket. `push`, `ping` and `close` may be called from any task; none blocks.

    `on_message` is called with each message in order, `on_slow` when it closes because the client
    is too slow, `on_end` once when the connection has ended for any reason.
    """

    def __init__(self, connection: Any, max_message_size: int) -> None:
        self.on_message: Callable[[str | bytes], object] = lambda message: None
        self.on_end: Callable[[], object] = lambda: None
        self.on_slow: Callable[[], object] = lambda: None
        self._socket = connection
        self._send_now = runtime.sender(connection)
        self._max_message_size = max_message_size
        self._protocol = wsproto.connection.Connection(wsproto.connection.ConnectionType.SERVER)
        self._lock = runtime.lock()
        self._fragments: list[Any] = []
        # Frames that a task is sending because the client is slow; None if there are none.
        self._backlog: deque[bytes] | None = None
        self._backlog_bytes = 0
        self._received_at = time.monotonic()
        self._useless = UselessTraffic()
        self._discarded_bytes = 0
        self._closing = self._aborted = self._finished = False

    def push(self, frames: bytes) -> None:
        """Send whole frames, or queue them. Closes a client too far behind (MAX_BACKLOG_BYTES)."""
        with self._lock:
            if not self._closing:
                self._send(frames)

    def ping(self) -> None:
        """Send a ping, or abort the connection after SILENCE_TIMEOUT without data."""
        with self._lock:
            if self._received_at + SILENCE_TIMEOUT <= time.monotonic():
                self._abort()
            elif not self._closing:
                with contextlib.suppress(LocalProtocolError):  # the client has just closed
                    self._send(self._protocol.send(Ping()))

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Send a close frame. Aborts the connection after CLOSE_TIMEOUT."""
        with self._lock:
            if not self._closing:
                self._close(code, reason)

    def take(self) -> bool:
        """Read and handle what arrives; blocks under `flask run`. Return False at the end."""
        if self._aborted:
            return False
        try:
            data = self._socket.recv(65536 if self._closing else 4096)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return self.take_data(data)

    def take_data(self, data: bytes) -> bool:
        """Handle received data; b"" means the end. Return False at the end. Yields to the loop."""
        self._received_at = time.monotonic()
        if self._closing:
            self._discarded_bytes += len(data)
            return bool(data) and self._discarded_bytes <= MAX_DISCARDED_BYTES
        self._protocol.receive_data(data or None)
        for number, event in enumerate(self._protocol.events(), 1):
            if self._closing:
                break  # RFC 6455, section 7.1.7: data after our close frame is ignored
            if not self._handle(event):
                return False
            if number % FRAMES_PER_YIELD == 0:
                runtime.yield_to_loop()
        return bool(data)

    def count_useless_frame(self, message: str | bytes = b"") -> None:
        """Count a useless frame; close the connection when it sends them too often."""
        if self._useless.exceeds_limit(len(message)):
            self.close(POLICY_VIOLATION, "too many frames that say nothing")

    def end(self) -> None:
        """Send a close frame if none was sent, shut the socket down and release it."""
        self.close()
        self._abort()
        with self._lock:
            self._finished = True
            if self._backlog is None:
                runtime.release(self._socket)
        self.on_end()
        del self.on_end, self.on_message  # else a reference cycle keeps all until a collection

    def _handle(self, event: Event) -> bool:
        """Handle a message or a control frame. Return False if it ends the connection."""
        if isinstance(event, Message):
            self._receive_fragment(event)
        elif isinstance(event, Ping | Pong):
            self.count_useless_frame()
            with self._lock:
                if isinstance(event, Ping) and not self._closing:
                    self._send(self._protocol.send(event.response()))
        elif isinstance(event, CloseConnection):
            with self._lock:
                if not self._closing:
                    self._closing = True
                    self._send(self._close_frame(event.code, ""))
            return False
        return True

    def _receive_fragment(self, fragment: Message[Any]) -> None:
        if fragment.data:  # endless empty fragments would fill the memory
            self._fragments.append(fragment.data)
        if sum(map(len, self._fragments)) > self._max_message_size:
            self.close(TOO_BIG, "message too big")
        elif not fragment.message_finished:
            if fragment.frame_finished:
                self.count_useless_frame()  # a few fragments are allowed
        else:
            fragments, self._fragments = self._fragments, []
            empty: Any = "" if isinstance(fragment, TextMessage) else b""
            try:
                self.on_message(empty.join(fragments))
            except Exception:
                log.exception("a message could not be handled")
                self.close(INTERNAL_ERROR, "server error")

    def _close_frame(self, code: int, reason: str) -> bytes:
        try:
            return bytes(self._protocol.send(CloseConnection(code, reason)))
        except LocalProtocolError:
            return b""

    def _close(self, code: int, reason: str) -> None:
        """Send a close frame, after the frame being sent and instead of all that are queued."""
        self._closing = True
        while self._backlog and len(self._backlog) > 1:
            self._backlog_bytes -= getsizeof(self._backlog.pop())
        self._send(self._close_frame(code, reason))
        self._shut_down_writing()
        runtime.after(CLOSE_TIMEOUT, self._abort)

    def _shut_down_writing(self) -> None:
        """Send the end of the stream after a close frame: the client sees it at once."""
        if self._closing and self._backlog is None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)

    def _send(self, frames: bytes) -> None:
        if self._backlog is None:
            try:
                sent = self._send_now(frames)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._abort()
                return
            if sent < len(frames):
                self._backlog = deque([frames[sent:]])
                self._backlog_bytes = getsizeof(self._backlog[0])
                runtime.spawn(self._send_backlog, self._backlog)
        elif self._backlog_bytes + getsizeof(frames) > MAX_BACKLOG_BYTES and not self._closing:
            self.on_slow()
            self._close(SLOW, "too slow")
        else:
            self._backlog.append(frames)
            self._backlog_bytes += getsizeof(frames)

    def _send_backlog(self, backlog: deque[bytes]) -> None:
        """Send the queued frames as fast as the client reads them. Blocks its task."""
        while backlog:
            try:
                runtime.send_all(self._socket, backlog[0])
            except OSError:
                self._abort()
            with self._lock:
                self._backlog_bytes -= getsizeof(backlog.popleft())
                if self._aborted:
                    backlog.clear()
                if not backlog:
                    self._backlog, self._backlog_bytes = None, 0
                    self._shut_down_writing()
                    if self._finished:
                        runtime.release(self._socket)

    def _abort(self) -> None:
        """Shut the socket down without a close frame, which wakes the tasks that wait on it."""
        self._closing = self._aborted = True
        if not self._finished:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


def is_handshake(environ: WSGIEnvironment) -> bool:
    """Whether the request is a WebSocket handshake as RFC 6455 defines it."""
    options = [part.strip() for part in environ.get("HTTP_CONNECTION", "").lower().split(",")]
    key = environ.get("HTTP_SEC_WEBSOCKET_KEY", "")
    is_upgrade = "upgrade" in options and environ.get("HTTP_UPGRADE", "").lower() == "websocket"
    has_key = bool(key) and key.isascii()
    return is_upgrade and has_key and environ.get("HTTP_SEC_WEBSOCKET_VERSION") == "13"


def serve(
    environ: WSGIEnvironment,
    on_open: Callable[[WebSocket], object],
    max_message_size: int,
    subprotocol: str | None = None,
) -> Iterable[bytes]:
    """Respond to a handshake and call `on_open` with the WebSocket, to set its callbacks.

    No extension is accepted: compressing small messages costs more CPU and memory than it saves.
    On the loop, returns at once; under `flask run`, blocks until the end and raises
    ConnectionError, as its server expects.
    """
    response = [
        b"HTTP/1.1 101 Switching Protocols",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Accept: "
        + generate_accept_token(environ["HTTP_SEC_WEBSOCKET_KEY"].encode()),
    ]
    if subprotocol:
        response.append(b"Sec-WebSocket-Protocol: " + subprotocol.encode())
    connection, received = runtime.detach_socket(environ, SILENCE_TIMEOUT)
    websocket = WebSocket(connection, max_message_size)
    websocket.push(b"\r\n".join([*response, b"", b""]))
    on_open(websocket)
    if received and not websocket.take_data(received):
        websocket.end()
    else:
        runtime.watch(connection, websocket.take, websocket.end)
    return runtime.finish(environ)
