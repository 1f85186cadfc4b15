"""Subscribers that connect, disconnect and stall at random, and log the messages they receive."""

import contextlib
import itertools
import json
import random
import socket
import struct
import threading
import time
from functools import partial

import socketio
import websocket

from tests.support.subscribers import PATH, SocketIoClient

CONNECTION_ERRORS = (OSError, websocket.WebSocketException, socketio.exceptions.SocketIOError)
TIMEOUT = 10  # seconds


def reset(connection):
    """Close the connection with a RST instead of a FIN."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with contextlib.suppress(OSError):  # the server has closed it
        # Otherwise a thread that still reads from it would keep it open.
        connection.shutdown(socket.SHUT_RD)
    connection.close()


class PlainConnection:
    """A plain WebSocket that reads only during `read`. None for `boards` names no board."""

    def __init__(self, url, token, boards=None):
        self._socket = websocket.create_connection(
            url.replace("http", "ws", 1) + PATH + (f"?board={','.join(boards)}" if boards else ""),
            timeout=TIMEOUT,
            header=[f"Authorization: Bearer {token}"],
            # A small buffer, so that the server soon detects a subscriber that does not read.
            sockopt=[(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)],
        )
        self.messages = []
        self.is_closed = False

    def read(self, seconds):
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

    def close(self):
        """Close or reset the connection, at random."""
        if random.random() < 0.5:
            self._socket.close(timeout=1)
        elif self._socket.sock:  # unless the server has closed it
            reset(self._socket.sock)


class SocketIoConnection:
    """A Socket.IO connection; its library always reads. It names boards at once or later."""

    def __init__(self, url, token, boards=None, transports=("websocket",)):
        later = boards if boards and random.random() < 0.5 else []
        self._client = SocketIoClient(url, token, list(transports), [] if later else boards)
        self.messages, self.close = [], self._client.close
        for board in later:
            response = self._client.call("subscribe", {"board": board})
            if response["status"] != 200:
                raise ConnectionError(f"a subscription returned {response}")

    @property
    def is_closed(self):
        return self._client.ended.is_set()

    def read(self, seconds):
        """Wait for `seconds`, or until the connection is closed."""
        self._client.ended.wait(seconds)
        self.messages = self._client.messages()


KINDS = (
    PlainConnection,
    PlainConnection,
    SocketIoConnection,
    partial(SocketIoConnection, transports=("polling", "websocket")),
    partial(SocketIoConnection, transports=("polling",)),
)


class Subscriber:
    """Opens one connection after another, and keeps the messages of each in `finished`."""

    def __init__(self, kind, urls, token, boards, seed):
        self._kind, self._urls, self._token, self._boards = kind, urls, token, boards
        self._random = random.Random(seed)
        self._connection = None
        self.finished = []

    def run(self, settling, stop):
        """Reconnect at random until `settling` is set, then only when disconnected."""
        while not stop.is_set():
            if self._connection is None:
                try:
                    url = self._random.choice(self._urls)
                    self._connection = self._kind(url, self._token, self._boards)
                except CONNECTION_ERRORS:
                    stop.wait(0.1)
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

    def connections(self):
        """Return what the log contains of each connection, the open one last."""
        all_messages = [*self.finished, list(self._connection.messages) if self._connection else []]
        return [
            {"open": number == len(self.finished), "boards": self._boards, "messages": messages}
            for number, messages in enumerate(all_messages)
        ]

    def _disconnect(self):
        connection, self._connection = self._connection, None
        self.finished.append(connection.messages)
        with contextlib.suppress(*CONNECTION_ERRORS):
            connection.close()


class Subscribers:
    """Subscribers of the servers at these URLs; they start at once.

    One of each kind names no board, and one names these boards.
    """

    def __init__(self, urls, token, boards, seed):
        self._all = [
            Subscriber(kind, urls, token, named, f"{seed}-subscriber-{number}")
            for number, (named, kind) in enumerate(itertools.product((None, boards), KINDS))
        ]
        self._settling, self._stop = threading.Event(), threading.Event()
        self._threads = [
            threading.Thread(target=each.run, args=(self._settling, self._stop), daemon=True)
            for each in self._all
        ]
        for thread in self._threads:
            thread.start()

    def settle(self, is_up_to_date, seconds=30):
        """Stop disconnecting; wait up to `seconds` until all subscribers are up to date."""
        self._settling.set()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if all(is_up_to_date(each.connections()[-1]) for each in self._all):
                return
            time.sleep(0.05)

    def write_log(self, path):
        """Write the messages of each connection."""
        with path.open("w") as log:
            for connection in itertools.chain(*(each.connections() for each in self._all)):
                log.write(json.dumps(connection) + "\n")

    def stop(self):
        """Stop the subscribers. Blocks until their threads have ended."""
        self._stop.set()
        for thread in self._threads:
            thread.join(10)
