"""Subscribers that connect, disconnect and stall at random, and log the messages they receive."""

import contextlib
import json
import random
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import socketio
import websocket

from tests.support.subscribers import PATH, SocketIoViewer

CONNECTION_ERRORS = (OSError, websocket.WebSocketException, socketio.exceptions.SocketIOError)
TIMEOUT = 10  # seconds


def reset(connection: socket.socket) -> None:
    """Close the connection with a RST instead of a FIN."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with contextlib.suppress(OSError):  # the server has closed it
        # Otherwise a thread that still reads from it would keep it open.
        connection.shutdown(socket.SHUT_RD)
    connection.close()


class PlainConnection:
    """A plain WebSocket that reads only during `read`."""

    def __init__(self, url: str, token: str) -> None:
        self._socket = websocket.create_connection(
            url.replace("http", "ws", 1) + PATH,
            timeout=TIMEOUT,
            header=[f"Authorization: Bearer {token}"],
            # A small buffer, so that the server soon detects a subscriber that does not read.
            sockopt=[(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)],
        )
        self.messages: list[Any] = []
        self.is_closed = False

    def read(self, seconds: float) -> None:
        """Read messages for `seconds`, or until the connection is closed."""
        deadline = time.monotonic() + seconds
        while not self.is_closed and (timeout := deadline - time.monotonic()) > 0:
            self._socket.settimeout(timeout)
            try:
                opcode, data = self._socket.recv_data()
                if opcode == websocket.ABNF.OPCODE_TEXT:
                    self.messages.append(json.loads(data))
                self.is_closed = opcode == websocket.ABNF.OPCODE_CLOSE
            except websocket.WebSocketTimeoutException:
                return
            except CONNECTION_ERRORS:
                self.is_closed = True

    def close(self) -> None:
        self._socket.close(timeout=1)


class ResettingConnection(PlainConnection):
    """A plain WebSocket that is reset instead of closed."""

    def close(self) -> None:
        if self._socket.sock:  # unless the server has closed it
            reset(self._socket.sock)


class SocketIoConnection:
    """A Socket.IO connection; its library always reads."""

    transports = ("websocket",)

    def __init__(self, url: str, token: str) -> None:
        self._viewer = SocketIoViewer(url, token, list(self.transports))
        self.close = self._viewer.close

    @property
    def messages(self) -> list[Any]:
        return self._viewer.messages()

    @property
    def is_closed(self) -> bool:
        return bool(self._viewer.ended.is_set())

    def read(self, seconds: float) -> None:
        """Wait for `seconds`, or until the connection is closed."""
        self._viewer.ended.wait(seconds)


class PollingConnection(SocketIoConnection):
    """A Socket.IO connection by long polling."""

    transports = ("polling",)


class UpgradingConnection(SocketIoConnection):
    """A Socket.IO connection that upgrades from long polling to WebSocket, as in browsers."""

    transports = ("polling", "websocket")


class Subscriber:
    """Opens one connection after another, and keeps the messages of each in `finished`.

    With `keep_messages` False, the messages of closed connections are dropped.
    """

    def __init__(
        self, kind: Any, urls: list[str], token: str, seed: str, keep_messages: bool
    ) -> None:
        self._kind, self._urls, self._token = kind, urls, token
        self._random = random.Random(seed)
        self._keep_messages = keep_messages
        self._connection: Any = None
        self.finished: list[list[Any]] = []

    def run(self, settling: threading.Event, stop: threading.Event) -> None:
        """Reconnect at random until `settling` is set, then only when disconnected."""
        while not stop.is_set():
            if self._connection is None:
                self._connect(stop)
                continue
            dice = self._random.random()
            if dice < 0.2 and not settling.is_set():
                stop.wait(self._random.random())  # a plain WebSocket stalls meanwhile
            elif dice < 0.4 and not settling.is_set():
                self._disconnect()
                continue
            self._connection.read(0.1 if settling.is_set() else self._random.random())
            if self._connection.is_closed:
                self._disconnect()
        if self._connection and not self._keep_messages:
            self._disconnect()

    def current(self) -> list[Any]:
        """Return the messages of the open connection."""
        return list(self._connection.messages) if self._connection else []

    def _connect(self, stop: threading.Event) -> None:
        try:
            self._connection = self._kind(self._random.choice(self._urls), self._token)
        except CONNECTION_ERRORS:
            stop.wait(0.1)

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if self._keep_messages:
            self.finished.append(list(connection.messages))
        with contextlib.suppress(*CONNECTION_ERRORS):
            connection.close()


class Subscribers:
    """One subscriber per entry of `KINDS` on the servers at these URLs; they start at once."""

    KINDS = (
        PlainConnection,
        PlainConnection,
        ResettingConnection,
        SocketIoConnection,
        UpgradingConnection,
        PollingConnection,
    )

    def __init__(
        self, urls: list[str], token: str, seed: int = 0, keep_messages: bool = True
    ) -> None:
        self._all = [
            Subscriber(kind, urls, token, f"{seed}-subscriber-{number}", keep_messages)
            for number, kind in enumerate(self.KINDS)
        ]
        self._settling, self._stop = threading.Event(), threading.Event()
        self._threads = [
            threading.Thread(target=each.run, args=(self._settling, self._stop), daemon=True)
            for each in self._all
        ]
        for thread in self._threads:
            thread.start()

    def settle(self, is_up_to_date: Callable[[list[Any]], bool], seconds: float = 30) -> None:
        """Stop disconnecting; wait up to `seconds` until all subscribers are up to date."""
        self._settling.set()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if all(is_up_to_date(each.current()) for each in self._all):
                return
            time.sleep(0.05)

    def write_log(self, path: Path) -> None:
        """Write the messages of each connection, open ones last."""
        connections = [(False, messages) for each in self._all for messages in each.finished]
        connections += [(True, each.current()) for each in self._all]
        with path.open("w") as log:
            for is_open, messages in connections:
                log.write(json.dumps({"open": is_open, "messages": messages}) + "\n")

    def stop(self) -> None:
        """Stop the subscribers. Blocks until their threads have ended."""
        self._stop.set()
        for thread in self._threads:
            thread.join(10)
