"""A WebSocket on the server's side: frames by wsproto, never waiting for a slow reader."""

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

from ...concurrency import runtime as transport
from ...observability import metrics
from ..useless_traffic import UselessTraffic

log = logging.getLogger(__name__)

# What a viewer may be behind before it is closed, in bytes of memory: some thousand boards. The
# frames are shared, so that a thousand slow viewers of the same messages hold them once.
MOST_BEHIND = 1024 * 1024
PING_SECONDS, SILENCE_SECONDS = 12, 40  # so long without a sign of life, and it is gone
TURN_FRAMES = 16  # are handled in one go, of the hundreds that may have come together
CLOSE_SECONDS, MOST_LEFT = 5, 256 * 1024  # the other side has to end it too, to have sent

SLOW = 4408
TOO_BIG = 1009
PROTOCOL_ERROR = 1002
POLICY_VIOLATION = 1008
INTERNAL_ERROR = 1011


class WebSocket:
    """One open WebSocket. `push` and `close` may be called from anywhere and never wait.

    `received` is called with every message, one after the other; `ended` once, when the
    connection has, for whatever reason.
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
        "received",
    )

    def __init__(self, connection: Any, longest_message: int) -> None:
        self.received: Callable[[str | bytes], object] = lambda message: None
        self.ended: Callable[[], object] = lambda: None
        self._connection = connection
        self._send_now = transport.sender(connection)
        self._longest = longest_message
        self._protocol = Connection(ConnectionType.SERVER)
        self._lock = transport.lock()
        self._parts: list[Any] = []
        self._size = 0
        # What waits for the other side, if anything does: then a task is sending it.
        self._behind: deque[bytes] | None = None
        self._bytes_behind = 0
        self._heard_at = time.monotonic()
        self._useless = UselessTraffic()
        self._closing = False
        self._left = MOST_LEFT
        self._aborted = False
        self._over = False

    def push(self, frames: bytes) -> None:
        """Send whole frames as soon as the other side takes them; one too far behind is closed."""
        with self._lock:
            if not self._closing:
                self._send(frames)

    def ping(self) -> None:
        """Ask for a sign of life; without any for SILENCE_SECONDS the connection ends."""
        with self._lock:
            if self._heard_at + SILENCE_SECONDS <= time.monotonic():
                self._abort()
            elif not self._closing:
                with contextlib.suppress(LocalProtocolError):  # it has said goodbye this moment
                    self._send(self._protocol.send(Ping()))

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Say goodbye and end the connection, within CLOSE_SECONDS if the other side is silent."""
        with self._lock:
            if not self._closing:
                self._close(code, reason)

    def take(self) -> bool:
        """Read what has arrived and hand the messages on. Return False at the end."""
        if self._aborted or self._left < 0:
            return False  # though there may always be more, from one who never stops sending
        try:
            data = self._connection.recv(MOST_LEFT if self._closing else 4096)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return self.take_data(data)

    def take_data(self, data: bytes) -> bool:
        """Hand the messages in what was read on; nothing is the end. Return False at the end."""
        self._heard_at = time.monotonic()
        if self._closing:
            self._left -= len(data)
            return bool(data)
        self._protocol.receive_data(data or None)
        return self._handle_all() and bool(data)

    def take_useless(self, said: str | bytes = b"") -> None:
        """Take note of what says nothing; whoever sends too much of that is closed, in a while."""
        if self._useless.exceeds_limit(len(said)):
            self.close(POLICY_VIOLATION, "too many frames that say nothing")

    def end(self) -> None:
        """Say goodbye, if nobody has, and let go of the socket."""
        self.close()
        self._abort()
        with self._lock:
            self._over = True
            if self._behind is None:
                transport.release(self._connection)
        self.ended()
        del self.ended, self.received  # they know us: all would stay until garbage is looked for

    def _handle_all(self) -> bool:
        for number, event in enumerate(self._protocol.events(), 1):
            if self._closing:
                return True  # RFC 6455, section 7.1.7: what follows our close is not looked at
            if not self._handle(event):
                return False
            if number % TURN_FRAMES == 0:
                transport.give_way()
        return True

    def _handle(self, event: Event) -> bool:
        """Hand a message on or answer a control frame. Return False if it ends the connection."""
        if isinstance(event, Message):
            self._put_together(event)
        elif isinstance(event, Ping):
            self.take_useless()
            with self._lock:
                if not self._closing:
                    self._send(self._protocol.send(event.response()))
        elif isinstance(event, Pong):
            self.take_useless()
        elif isinstance(event, CloseConnection):
            with self._lock:
                if not self._closing:
                    self._closing = True
                    self._send(self._closing_frame(event.code, ""))
            return False
        return True

    def _put_together(self, part: Message[Any]) -> None:
        if part.data:  # or a message of endless parts of nothing would be kept
            self._parts.append(part.data)
        self._size += len(part.data)
        if self._size > self._longest:
            self.close(TOO_BIG, "message too big")
        elif not part.message_finished:
            if part.frame_finished:
                self.take_useless()  # a message may come in a few, not in parts without end
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
        """Queue the close frame behind nothing but the frame that is half sent."""
        self._closing = True
        while self._behind and len(self._behind) > 1:
            self._bytes_behind -= getsizeof(self._behind.pop())
        self._send(self._closing_frame(code, reason))
        self._say_no_more()
        transport.after(CLOSE_SECONDS, self._abort)

    def _say_no_more(self) -> None:
        """Shut the writing side once everything is sent: how a client knows without our reading."""
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
            transport.spawn(self._drain)
        elif self._bytes_behind + getsizeof(frames) > MOST_BEHIND and not self._closing:
            metrics.SLOW_CLIENTS.inc()
            self._close(SLOW, "too slow")
        else:
            behind.append(frames)
            self._bytes_behind += getsizeof(frames)

    def _drain(self) -> None:
        """Send what waits for the other side, as it takes it."""
        behind = self._behind
        while behind:
            try:
                transport.send_all(self._connection, behind[0])
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
                        transport.release(self._connection)

    def _abort(self) -> None:
        """End the connection without a word: whoever waits on the socket wakes up."""
        self._closing = self._aborted = True
        if not self._over:
            with contextlib.suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)
