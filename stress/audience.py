"""Viewers that connect, disconnect and stall at random, and log the messages they receive."""

import contextlib
import json
import random
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import socketio
import websocket

from tests.support.subscribers import SocketIoViewer

from .mixed.sockets import reset

FAILURES = (OSError, websocket.WebSocketException, socketio.exceptions.SocketIOError)
SECONDS = 10


class Plain:
    """A plain WebSocket viewer that reads only during `read`."""

    def __init__(self, url: str, token: str) -> None:
        self._socket = websocket.create_connection(
            f"{url.replace('http', 'ws', 1)}/ws/scoreboard",
            timeout=SECONDS,
            header=[f"Authorization: Bearer {token}"],
            # A small buffer, so that the server soon notices a viewer that does not read.
            sockopt=[(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)],
        )
        self.messages: list[Any] = []
        self.over = False

    def read(self, seconds: float) -> None:
        """Read messages for `seconds`, or until the connection ends."""
        until = time.monotonic() + seconds
        while not self.over and (rest := until - time.monotonic()) > 0:
            self._socket.settimeout(rest)
            try:
                opcode, data = self._socket.recv_data()
                if opcode == websocket.ABNF.OPCODE_TEXT:
                    self.messages.append(json.loads(data))
                self.over = opcode == websocket.ABNF.OPCODE_CLOSE
            except websocket.WebSocketTimeoutException:
                return
            except FAILURES:
                self.over = True

    def close(self) -> None:
        self._socket.close(timeout=1)


class Vanishing(Plain):
    """A plain WebSocket viewer that resets its connection instead of closing it."""

    def close(self) -> None:
        if self._socket.sock:  # unless the server has closed it
            reset(self._socket.sock)


class SocketIo:
    """A Socket.IO viewer with the transports in `transports`; its library always reads."""

    transports = ("websocket",)

    def __init__(self, url: str, token: str) -> None:
        self._viewer = SocketIoViewer(url, token, list(self.transports))

    @property
    def messages(self) -> list[Any]:
        return self._viewer.messages()

    @property
    def over(self) -> bool:
        return bool(self._viewer.ended.is_set())

    def read(self, seconds: float) -> None:
        """Wait for `seconds`, or until the connection ends."""
        self._viewer.ended.wait(seconds)

    def close(self) -> None:
        self._viewer.close()


class Polling(SocketIo):
    """A Socket.IO viewer that uses long polling."""

    transports = ("polling",)


class Upgrading(SocketIo):
    """A Socket.IO viewer that upgrades from long polling to WebSocket, as browsers do."""

    transports = ("polling", "websocket")


class Member:
    """A viewer that opens one connection after another, and keeps the messages of each."""

    def __init__(self, kind: Any, urls: list[str], token: str, seed: str) -> None:
        self._kind, self._urls, self._token = kind, urls, token
        self._random = random.Random(seed)
        self._connection: Any = None
        self.seen: list[list[Any]] = []

    def watch(self, settle: threading.Event, end: threading.Event) -> None:
        """Reconnect at random until `settle` is set, then only when disconnected, until `end`."""
        while not end.is_set():
            if self._connection is None:
                self._connect(end)
                continue
            dice = self._random.random()
            if dice < 0.2 and not settle.is_set():
                end.wait(self._random.random())  # a plain viewer stalls meanwhile
            elif dice < 0.4 and not settle.is_set():
                self._leave()
                continue
            self._connection.read(0.1 if settle.is_set() else self._random.random())
            if self._connection.over:
                self._leave()

    def present(self) -> list[Any]:
        """Return the messages of the open connection."""
        return list(self._connection.messages) if self._connection else []

    def _connect(self, end: threading.Event) -> None:
        try:
            self._connection = self._kind(self._random.choice(self._urls), self._token)
        except FAILURES:
            end.wait(0.1)

    def _leave(self) -> None:
        connection, self._connection = self._connection, None
        self.seen.append(list(connection.messages))
        with contextlib.suppress(*FAILURES):
            connection.close()


class Audience:
    """Viewers of every kind on the servers at these URLs; they start at once."""

    KINDS = (Plain, Plain, Vanishing, SocketIo, Upgrading, Polling)

    def __init__(self, urls: list[str], token: str, folder: Path, seed: int = 0) -> None:
        self.members = [
            Member(kind, urls, token, f"{seed}-viewer-{number}")
            for number, kind in enumerate(self.KINDS)
        ]
        self.log = folder / "viewers.jsonl"
        self._settle, self._end = threading.Event(), threading.Event()
        self._threads = [
            threading.Thread(target=member.watch, args=(self._settle, self._end), daemon=True)
            for member in self.members
        ]
        for thread in self._threads:
            thread.start()

    def settle(self, has_seen_all: Callable[[list[Any]], bool], seconds: float = 30) -> None:
        """Stop disconnecting; wait up to `seconds` until `has_seen_all` holds for every viewer."""
        self._settle.set()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if all(has_seen_all(member.present()) for member in self.members):
                return
            time.sleep(0.05)

    def end(self) -> None:
        """Stop the viewers and log the messages of each connection, open ones last."""
        still_open = [member.present() for member in self.members]
        self._end.set()
        for thread in self._threads:
            thread.join(10)
        with self.log.open("w") as log:
            for member in self.members:
                for messages in member.seen:
                    log.write(json.dumps({"open": False, "messages": messages}) + "\n")
            for messages in still_open:
                log.write(json.dumps({"open": True, "messages": messages}) + "\n")
