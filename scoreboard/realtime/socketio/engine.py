"""Replaces parts of python-engineio, to frame a broadcast once and write it without a queue.

The library gives every client a queue and a task that empties it: 30 µs of CPU per message and
client, and two stacks per client. Here a client with a WebSocket has neither: packets are written
to the WebSocket at once, and a broadcast is framed once for all clients. Polling clients keep the
library's queue. This module and `session.py` depend on the library's internals;
`tests/realtime/test_engine.py` checks all of them and fails when a new version changes one.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from queue import Empty
from typing import Any

from engineio import packet
from engineio.exceptions import SocketIsClosedError, UnknownPacketError

from ...concurrency import runtime
from ...errors import UpgradeRequired
from ..useless_traffic import UselessTraffic
from ..websocket import connection as websocket
from ..websocket import handshake
from ..websocket.framing import text_frame
from . import refusals
from .packets import MAX_MESSAGE_SIZE
from .session import EngineSession


def install(engine: Any, on_slow: Callable[[], object]) -> None:
    """Make this Engine.IO server use `Outbox`, `EngineWebSocket` and our error shape.

    `on_slow` is called when a client is closed because it is too slow.

    The library's WebSocket drivers negotiate compression with every browser and keep a compressor
    for each; one limits the size of a frame but not of a message, the other loses bytes that the
    kernel does not accept at once. A driver can only be set in the library's internal table.
    """
    queue = functools.partial(Outbox, engine._async["queue"])
    driver = functools.partial(EngineWebSocket, on_slow)
    engine._async = {**engine._async, "websocket": driver, "queue": queue}
    engine._bad_request = refusals.bad_request
    engine._method_not_found = refusals.method_not_allowed
    engine._unauthorized = refusals.refusal


def message(text: str) -> Any:
    """Return the Engine.IO packet that contains an encoded Socket.IO packet."""
    return packet.Packet(packet.MESSAGE, text)


def frames(packets: Sequence[Any]) -> bytes:
    """Return the packets as WebSocket frames, one frame per packet."""
    return b"".join(text_frame(each.encode()) for each in packets)


def before_connect(socket: Any) -> None:
    """Turn the library's session into an `EngineSession` before its ping task starts."""
    socket.__class__ = EngineSession
    socket.last_ping, socket.useless = None, UselessTraffic()


def disconnected(socket: Any) -> None:
    """Close the WebSocket of a polling session that ended during its upgrade."""
    if not socket.upgraded and hasattr(socket, "websocket"):
        socket.websocket.close()


class Outbox:
    """Outgoing packets of one client: the library's queue until the client has a WebSocket.

    `attach` writes the queued packets to the WebSocket; later packets are written at once. Packets
    stay in order, because all of them go through this object. Only `get` blocks.
    """

    __slots__ = ("_lock", "_queue", "_websocket")

    def __init__(self, queue: Any) -> None:
        self._lock = runtime.lock()
        self._queue = queue()
        self._websocket: websocket.WebSocket | None = None

    def push(self, frames: bytes, packets: Iterable[Any]) -> None:
        """Send a broadcast, given both as WebSocket frames and as packets."""
        with self._lock:
            if self._websocket:
                self._websocket.push(frames)
            else:
                for each in packets:
                    self._queue.put(each)

    def put(self, each: Any) -> None:
        """Send a packet, or close the connection if it is None."""
        with self._lock:
            if self._websocket:
                _write(self._websocket, each)
            else:
                self._queue.put(each)

    def attach(self, opened: websocket.WebSocket) -> None:
        """Write the queued packets to this WebSocket, and all later packets too."""
        with self._lock:
            queue, self._queue, self._websocket = self._queue, None, opened
            while queue.qsize():
                _write(opened, queue.get(block=False))
            # Ends a poll that should have ended before the upgrade and would keep waiting.
            queue.put(packet.Packet(packet.NOOP))

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Return the next packet for a polling client. Raises queue.Empty."""
        queue = self._queue
        if queue is None:
            raise Empty
        return queue.get(block, timeout)

    def qsize(self) -> int:
        """Return how many packets wait for a polling client; 0 with a WebSocket."""
        queue = self._queue
        return queue.qsize() if queue else 0

    def task_done(self) -> None:
        """Do nothing: `join` does not wait for it."""

    def join(self) -> None:
        """Return at once: a client that is gone never takes the rest."""


def _write(opened: websocket.WebSocket, each: Any) -> None:
    if each is None:
        opened.close()
    else:
        opened.push(text_frame(each.encode()))


class EngineWebSocket:
    """The WebSocket of one client, with the interface of an Engine.IO driver."""

    __slots__ = ("_engine", "_on_slow", "_opened", "_probed", "_socket")

    def __init__(self, on_slow: Callable[[], object], handler: Any, engine: Any) -> None:
        self._on_slow = on_slow
        self._socket = handler.__self__  # the session; its own handler is not used
        self._engine = engine
        self._probed = False

    def __call__(self, environ: runtime.WsgiEnvironment, start_response: Any) -> Any:
        """Serve one connection as `handshake.serve` does, or return the error response."""
        if not handshake.is_upgrade(environ):
            return refusals.refusal(UpgradeRequired())
        return handshake.serve(environ, start_response, self._open, MAX_MESSAGE_SIZE)

    def _open(self, opened: websocket.WebSocket) -> None:
        """Attach the WebSocket to its session; close it if the session has ended or has one."""
        if self._socket.closing or hasattr(self._socket, "websocket"):
            opened.close(websocket.PROTOCOL_ERROR, "no session to upgrade")
            return
        self._opened = self._socket.websocket = opened
        opened.received, opened.ended = self._received, self._ended
        opened.on_slow = self._on_slow
        if not self._socket.connected:
            self._socket.connected = True
            self._attach()

    def _attach(self) -> None:
        self._socket.queue.attach(self._opened)
        self._socket.upgraded = True
        self._socket.upgrading = False

    def _received(self, text: str | bytes) -> None:
        """Handle a packet. A packet that Engine.IO could not read closes the connection."""
        if not isinstance(text, str) or not text or text[0] not in "0123456":
            self._opened.close(websocket.PROTOCOL_ERROR, "not an Engine.IO packet")
        elif not self._socket.upgraded:
            self._shake_hands(text)
        elif text[0] == "4":
            self._receive(packet.Packet(packet.MESSAGE, text[1:]))
        else:
            # The payload of the other packet types is never used, so it is not decoded.
            self._opened.count_useless_frame(text)
            self._receive(packet.Packet(int(text[0])))

    def _shake_hands(self, text: str) -> None:
        """Upgrade from polling: answer the client's probe, attach on its upgrade packet."""
        if text == "2probe" and not self._probed:
            self._probed = self._socket.upgrading = True
            self._opened.push(text_frame("3probe"))
            self._socket.queue.put(packet.Packet(packet.NOOP))
        elif text == "5" and self._probed:
            self._attach()
        else:
            self._opened.close(websocket.PROTOCOL_ERROR, "not an upgrade")

    def _receive(self, received: Any) -> None:
        try:
            self._socket.receive(received)
        except UnknownPacketError:
            pass
        except SocketIsClosedError:
            self._opened.close()

    def _ended(self) -> None:
        if self._socket.upgraded:
            self._socket.close(wait=False, abort=True, reason=self._engine.reason.TRANSPORT_CLOSE)
            self._engine.sockets.pop(self._socket.sid, None)
        self._socket.upgrading = False
