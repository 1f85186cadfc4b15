"""Server side of a WebSocket: frames by wsproto, and sending never waits for a slow client."""

import contextlib
import logging
import socket
import time
from collections import deque
from collections.abc import Callable
from sys import getsizeof
from typing import Any

from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection, Event, Message, Ping, Pong, TextMessage
from wsproto.utilities import LocalProtocolError

from ...concurrency import runtime
from ..useless_traffic import UselessTraffic

log = logging.getLogger(__name__)

# Bytes of memory that may wait for a client before it is closed: some thousand boards. The frames
# are shared, so a thousand slow clients that get the same messages hold them once.
MAX_BACKLOG_BYTES = 1024 * 1024
PING_INTERVAL, SILENCE_TIMEOUT = 12, 40  # between pings; without data until closed
FRAMES_PER_YIELD = 16  # handled before yielding to the loop; hundreds may arrive together
CLOSE_TIMEOUT, MOST_LEFT = 5, 256 * 1024  # limits for the client to close too: time, bytes

SLOW = 4408
TOO_BIG = 1009
PROTOCOL_ERROR = 1002
POLICY_VIOLATION = 1008
INTERNAL_ERROR = 1011


class WebSocket:
    """One open WebSocket. `push`, `ping` and `close` may be called from any task; none blocks.

    `received` is called with each message in order, `on_slow` when it closes because the client is
    too slow, `ended` once when the connection has ended for any reason.
    """

    __slots__ = (
        "_aborted",
        "_behind",
        "_bytes_behind",
        "_closing",
        "_connection",
        "_heard_at",
        "_left",
        "_lock",
        "_longest",
        "_over",
        "_parts",
        "_protocol",
        "_send_now",
        "_size",
        "_useless",
        "ended",
        "on_slow",
        "received",
    )

    def __init__(self, connection: Any, max_message_size: int) -> None:
        self.received: Callable[[str | bytes], object] = lambda message: None
        self.ended: Callable[[], object] = lambda: None
        self.on_slow: Callable[[], object] = lambda: None
        self._connection = connection
        self._send_now = runtime.sender(connection)
        self._longest = max_message_size
        self._protocol = Connection(ConnectionType.SERVER)
        self._lock = runtime.lock()
        self._parts: list[Any] = []
        self._size = 0
        # Frames that the client has yet to take, while a task sends them; None if there are none.
        self._behind: deque[bytes] | None = None
        self._bytes_behind = 0
        self._heard_at = time.monotonic()
        self._useless = UselessTraffic()
        self._closing = False
        self._left = MOST_LEFT
        self._aborted = False
        self._over = False

    def push(self, frames: bytes) -> None:
        """Send whole frames, or queue them. Closes a client too far behind (MAX_BACKLOG_BYTES)."""
        with self._lock:
            if not self._closing:
                self._send(frames)

    def ping(self) -> None:
        """Send a ping, or abort the connection after SILENCE_TIMEOUT without data."""
        with self._lock:
            if self._heard_at + SILENCE_TIMEOUT <= time.monotonic():
                self._abort()
            elif not self._closing:
                with contextlib.suppress(LocalProtocolError):  # the client has just closed
                    self._send(self._protocol.send(Ping()))

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Send a close frame. A client that does not answer it is cut off after CLOSE_TIMEOUT."""
        with self._lock:
            if not self._closing:
                self._close(code, reason)

    def take(self) -> bool:
        """Read and handle what arrives; blocks under `flask run`. Return False at the end."""
        if self._aborted or self._left < 0:
            return False  # even if the client never stops sending
        try:
            data = self._connection.recv(MOST_LEFT if self._closing else 4096)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return self.take_data(data)

    def take_data(self, data: bytes) -> bool:
        """Handle received data; b"" means the end. Return False at the end. Yields to the loop."""
        self._heard_at = time.monotonic()
        if self._closing:
            self._left -= len(data)
            return bool(data)
        self._protocol.receive_data(data or None)
        return self._handle_all() and bool(data)

    def count_useless_frame(self, said: str | bytes = b"") -> None:
        """Count a useless frame; close the connection when it sends them too often."""
        if self._useless.exceeds_limit(len(said)):
            self.close(POLICY_VIOLATION, "too many frames that say nothing")

    def end(self) -> None:
        """Send a close frame if none was sent, shut the socket down and release it."""
        self.close()
        self._abort()
        with self._lock:
            self._over = True
            if self._behind is None:
                runtime.release(self._connection)
        self.ended()
        del self.ended, self.received  # else a reference cycle keeps all until a collection

    def _handle_all(self) -> bool:
        for number, event in enumerate(self._protocol.events(), 1):
            if self._closing:
                return True  # RFC 6455, section 7.1.7: data after our close frame is ignored
            if not self._handle(event):
                return False
            if number % FRAMES_PER_YIELD == 0:
                runtime.yield_to_loop()
        return True

    def _handle(self, event: Event) -> bool:
        """Handle a message or a control frame. Return False if it ends the connection."""
        if isinstance(event, Message):
            self._put_together(event)
        elif isinstance(event, Ping):
            self.count_useless_frame()
            with self._lock:
                if not self._closing:
                    self._send(self._protocol.send(event.response()))
        elif isinstance(event, Pong):
            self.count_useless_frame()
        elif isinstance(event, CloseConnection):
            with self._lock:
                if not self._closing:
                    self._closing = True
                    self._send(self._closing_frame(event.code, ""))
            return False
        return True

    def _put_together(self, part: Message[Any]) -> None:
        if part.data:  # endless empty fragments would fill the memory
            self._parts.append(part.data)
        self._size += len(part.data)
        if self._size > self._longest:
            self.close(TOO_BIG, "message too big")
        elif not part.message_finished:
            if part.frame_finished:
                self.count_useless_frame()  # a few fragments are allowed, not endless ones
        else:
            parts, self._parts, self._size = self._parts, [], 0
            whole = "".join(parts) if isinstance(part, TextMessage) else b"".join(parts)
            try:
                self.received(whole)
            except Exception:
                log.exception("a message could not be handled")
                self.close(INTERNAL_ERROR, "server error")

    def _closing_frame(self, code: int, reason: str) -> bytes:
        try:
            return bytes(self._protocol.send(CloseConnection(code, reason)))
        except LocalProtocolError:
            return b""

    def _close(self, code: int, reason: str) -> None:
        """Send a close frame, after the frame being sent and instead of all that are queued."""
        self._closing = True
        while self._behind and len(self._behind) > 1:
            self._bytes_behind -= getsizeof(self._behind.pop())
        self._send(self._closing_frame(code, reason))
        self._say_no_more()
        runtime.after(CLOSE_TIMEOUT, self._abort)

    def _say_no_more(self) -> None:
        """Shut down writing when all is sent: the client sees the end even if we do not read."""
        if self._closing and self._behind is None:
            with contextlib.suppress(OSError):
                self._connection.shutdown(socket.SHUT_WR)

    def _send(self, frames: bytes) -> None:
        behind = self._behind
        if behind is None:
            try:
                sent = self._send_now(frames)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._abort()
                return
            if sent == len(frames):
                return
            self._behind = deque([frames[sent:]])
            self._bytes_behind = getsizeof(self._behind[0])
            runtime.spawn(self._drain)
        elif self._bytes_behind + getsizeof(frames) > MAX_BACKLOG_BYTES and not self._closing:
            self.on_slow()
            self._close(SLOW, "too slow")
        else:
            behind.append(frames)
            self._bytes_behind += getsizeof(frames)

    def _drain(self) -> None:
        """Send the queued frames as fast as the client takes them. Blocks its task."""
        behind = self._behind
        while behind:
            try:
                runtime.send_all(self._connection, behind[0])
            except OSError:
                self._abort()
            with self._lock:
                self._bytes_behind -= getsizeof(behind.popleft())
                if self._aborted:
                    behind.clear()
                if not behind:
                    self._behind, self._bytes_behind = None, 0
                    self._say_no_more()
                    if self._over:
                        runtime.release(self._connection)

    def _abort(self) -> None:
        """Shut the socket down without a close frame, which wakes the tasks that wait on it."""
        self._closing = self._aborted = True
        if not self._over:
            with contextlib.suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)
