"""Where Engine.IO is taken apart: this and `engine_session.py` rely on python-engineio's inside.

The library has a queue for every client and a task that empties it, which costs 30 µs of CPU for
each message of each viewer and two stacks for each viewer. Here a client that has a WebSocket has
neither: what is put into its queue is written to the WebSocket at once, and a broadcast is framed
once for all. Clients that poll stay with the library. `tests/test_engine.py` has all of what we
rely on, to fail when a new version moves it.
"""

import functools
from collections.abc import Iterable, Sequence
from queue import Empty
from typing import Any

from engineio import packet
from engineio.exceptions import SocketIsClosedError, UnknownPacketError

from ...concurrency import runtime as transport
from ...errors import UpgradeRequired
from ..useless_traffic import UselessTraffic
from ..websocket import connection as websocket
from ..websocket import handshake
from ..websocket.framing import text_frame
from . import refusals
from .packets import LONGEST_MESSAGE
from .session import EngineSession


def install(engine: Any) -> None:
    """Make this Engine.IO server use our queue, our WebSocket and our error shape.

    Its own WebSocket drivers negotiate compression with every browser and keep a compressor for
    each; one of them bounds a frame but not a message, the other loses what the kernel does not
    take at once. There is no public way to choose, hence the internal table.
    """
    queue = functools.partial(Outbox, engine._async["queue"])
    engine._async = {**engine._async, "websocket": EngineWebSocket, "queue": queue}
    engine._bad_request = refusals.bad_request
    engine._method_not_found = refusals.method_not_allowed
    engine._unauthorized = refusals.refusal


def message(text: str) -> Any:
    """Return the Engine.IO packet that carries a Socket.IO packet."""
    return packet.Packet(packet.MESSAGE, text)


def frames(packets: Sequence[Any]) -> bytes:
    """Return the packets as they are sent by WebSocket, one frame each."""
    return b"".join(text_frame(each.encode()) for each in packets)


def before_connect(socket: Any) -> None:
    """Make a session of the library's one of ours, before it starts a task that pings."""
    socket.__class__ = EngineSession
    socket.last_ping, socket.useless = None, UselessTraffic()


def disconnected(socket: Any) -> None:
    """End the WebSocket that a polling session was about to move to, and now never will."""
    if not socket.upgraded and hasattr(socket, "websocket"):
        socket.websocket.close()


class Outbox:
    """What waits for one client: a queue as the library has it, as long as the client polls.

    Once there is a WebSocket, whatever waits is written to it in order, and so is all that
    follows, at once. Nothing overtakes anything: everything to the client goes through here.
    """

    __slots__ = ("_lock", "_queue", "_websocket")

    def __init__(self, queue: Any) -> None:
        self._lock = transport.lock()
        self._queue = queue()
        self._websocket: websocket.WebSocket | None = None

    def push(self, frames: bytes, packets: Iterable[Any]) -> None:
        """Send a broadcast, given in both forms."""
        with self._lock:
            if self._websocket:
                self._websocket.push(frames)
            else:
                for each in packets:
                    self._queue.put(each)

    def put(self, each: Any) -> None:
        """Send a packet, or end the connection if it is None. Never waits."""
        with self._lock:
            if self._websocket:
                _write(self._websocket, each)
            else:
                self._queue.put(each)

    def attach(self, opened: websocket.WebSocket) -> None:
        """Write to this WebSocket from now on, first of all what waits already."""
        with self._lock:
            queue, self._queue, self._websocket = self._queue, None, opened
            while queue.qsize():
                _write(opened, queue.get(block=False))
            # Or a poll that should have ended before the upgrade would wait on.
            queue.put(packet.Packet(packet.NOOP))

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Return the next packet for a client that polls. Raises queue.Empty."""
        queue = self._queue
        if queue is None:
            raise Empty
        return queue.get(block, timeout)

    def qsize(self) -> int:
        """Return how many packets wait for a client that polls."""
        queue = self._queue
        return queue.qsize() if queue else 0

    def task_done(self) -> None:
        """Take note that a packet was taken, which nobody waits for."""

    def join(self) -> None:
        """Do not wait for the client to take everything: it may have gone."""


def _write(opened: websocket.WebSocket, each: Any) -> None:
    if each is None:
        opened.close()
    else:
        opened.push(text_frame(each.encode()))


class EngineWebSocket:
    """The WebSocket of one client, in the form of a driver that Engine.IO asks for."""

    __slots__ = ("_engine", "_opened", "_probed", "_socket")

    def __init__(self, handler: Any, engine: Any) -> None:
        self._socket = handler.__self__  # whose own way to run a WebSocket we do not use
        self._engine = engine
        self._probed = False

    def __call__(self, environ: transport.WsgiEnvironment, start_response: Any) -> Any:
        """Serve one connection until it ends, or return a refusal for Engine.IO to answer with."""
        if not handshake.is_upgrade(environ):
            return refusals.refusal(UpgradeRequired())
        return handshake.serve(environ, start_response, self._open, LONGEST_MESSAGE)

    def _open(self, opened: websocket.WebSocket) -> None:
        """Take over a new session, or the one that upgrades: once, and to one WebSocket only."""
        if self._socket.closing or hasattr(self._socket, "websocket"):
            opened.close(websocket.PROTOCOL_ERROR, "no session to upgrade")
            return
        self._opened = self._socket.websocket = opened
        opened.received, opened.ended = self._received, self._ended
        if not self._socket.connected:
            self._socket.connected = True
            self._attach()

    def _attach(self) -> None:
        self._socket.queue.attach(self._opened)
        self._socket.upgraded = True
        self._socket.upgrading = False

    def _received(self, text: str | bytes) -> None:
        """Take a packet. One that Engine.IO could not read ends the connection here."""
        if not isinstance(text, str) or not text or text[0] not in "0123456":
            self._opened.close(websocket.PROTOCOL_ERROR, "not an Engine.IO packet")
        elif not self._socket.upgraded:
            self._shake_hands(text)
        elif text[0] == "4":
            self._receive(packet.Packet(packet.MESSAGE, text[1:]))
        else:
            # Nothing that may come with these is of any use, so nobody looks at it.
            self._opened.take_useless(text)
            self._receive(packet.Packet(int(text[0])))

    def _shake_hands(self, text: str) -> None:
        """Upgrade: the client probes, ends its polling, and then says so."""
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
