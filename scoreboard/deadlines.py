"""How long the server of `python wsgi.py` waits for a client, whatever it sends and however slowly.

Nobody is waited for without end, and nobody who sends without end keeps the loop from the others.
"""

import contextlib
import functools
import re
import socket
import time
from http import HTTPStatus
from typing import Any

from .json_provider import dumps
from .realtime.transport import give_way

# From one answer, or the start, until the whole head of the next request is there. Proxies keep
# idle connections themselves (Heroku's router for 90 s) and must be the ones to end them:
# https://devcenter.heroku.com/articles/http-routing#keepalives
HEAD_SECONDS, PROXYS_HEAD_SECONDS = 30, 95
# From there on, until the body is there, and until all is over: a poll is answered with a ping
# after 25 s at the most.
BODY_SECONDS, EXCHANGE_SECONDS = 20, 40
# What is taken in one go: of a request's body, of requests that are there one upon the other.
TURN_BYTES, TURN_REQUESTS = 64 * 1024, 10
# Sizes of chunks, and trailers: those of a body of 64 KiB in chunks of one byte, and more.
MOST_FRAMING = 512 * 1024
# What the environment of a request has under this name, to be called for no other request to be
# taken by that connection.
LAST_ANSWER = "scoreboard.last_answer"

NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
LENGTH = re.compile(r"[0-9]{1,18}", re.ASCII)
_TOLD = dumps({"error": {"code": "bad_request", "message": "This is no HTTP that can be read."}})
UNREADABLE = (
    b"HTTP/1.1 %d %b\r\nContent-Type: application/json\r\n"
    b"Content-Length: " + str(len(_TOLD)).encode() + b"\r\nConnection: close\r\n\r\n" + _TOLD
)


def head_seconds(proxies: int) -> int:
    """Return how long to wait for the head of a request that comes through so many proxies."""
    return PROXYS_HEAD_SECONDS if proxies else HEAD_SECONDS


class Connection(list[Any]):
    """One that speaks HTTP, as the server has it: address, socket, state.

    `since` is when it began to wait, by time.monotonic: for the head of a request or, once this is
    there, for the rest; then there is a `body` to be read, be it empty.
    """

    def __init__(self, address: Any, client: Any, state: Any) -> None:
        super().__init__([address, client, state])
        self.await_head()

    def await_head(self) -> None:
        """Begin to wait for the head of the next request."""
        self.since, self.body = time.monotonic(), None

    def await_rest(self, body: Any) -> None:
        """Begin to wait for the body, and for the end of the answer."""
        self.since, self.body = time.monotonic(), body

    def is_late(self, now: float, head_seconds: int) -> bool:
        """Whether the client has had all the time that it gets for what it is at."""
        return now - self.since > self._seconds(head_seconds)

    def _seconds(self, head_seconds: int) -> int:
        if self.body is None:
            return head_seconds
        if self.body.chunked_input:
            missing = self.body.chunk_length != 0
        else:
            missing = self.body.position < self.body.content_length
        return BODY_SECONDS if missing else EXCHANGE_SECONDS

    def hang_up(self) -> None:
        """Wake up whoever reads from the connection or writes to it: it is over."""
        with contextlib.suppress(OSError):
            self[1].shutdown(socket.SHUT_RDWR)


def bounded(protocol: Any) -> Any:
    """Return the server's HTTP, a class, as one whose connections are held to all this."""

    class Bounded(protocol):
        requests = 0

        def parse_request(self) -> bool:
            """Read the head of a request; one that two readers could read in two ways is none."""
            if not super().parse_request():
                return False
            if not _is_plain(self.headers):
                self.send_error(400)
                return False
            return True

        def send_error(self, code: int, *explained: Any) -> None:
            """Answer a head that cannot be read, and tell nothing of it back."""
            self.wfile.write(UNREADABLE % (code, HTTPStatus(code).phrase.encode()))
            self.close_connection = True

        def log_message(self, *said: Any) -> None:
            """Log nothing of a request that cannot be read: there may be a token in it."""

        def handle_one_request(self) -> None:
            self.conn_state.await_head()
            self.requests += 1
            if self.requests % TURN_REQUESTS == 0:
                give_way()
            super().handle_one_request()

        def get_environ(self) -> Any:
            environ = super().get_environ()
            body = environ["wsgi.input"]
            if body.chunked_input or body.content_length:
                body.rfile = _Body(body.rfile)
            self.conn_state.await_rest(body)
            environ[LAST_ANSWER] = functools.partial(setattr, self, "close_connection", True)
            return environ

    return Bounded


def _is_plain(headers: Any) -> bool:
    """Whether names are names, values on one line, and the body ends in one way only."""
    lengths = headers.get_all("Content-Length", [])
    codings = headers.get_all("Transfer-Encoding", [])
    return (
        not headers.defects
        and all(
            NAME.fullmatch(name) and not CONTROL.search(value) for name, value in headers.items()
        )
        and len(lengths) + len(codings) <= 1
        and all(map(LENGTH.fullmatch, lengths))
        and all(coding.lower() == "chunked" for coding in codings)
    )


class _Body:
    """What a request's body is read from. Raises OSError for one in chunks that has no end."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._turn = TURN_BYTES
        self._framing = MOST_FRAMING

    def read(self, size: int) -> bytes:
        """Read as the stream does, and let everybody else have a turn now and then."""
        self._turn -= size
        if self._turn < 0:
            self._turn = TURN_BYTES
            give_way()
        data: bytes = self._stream.read(size)
        return data

    def readline(self, size: int = -1) -> bytes:
        """Read a line, or so many bytes of it: the size of a chunk, its end, a trailer."""
        line: bytes = self._stream.readline(self._framing if size < 0 else size)
        self._framing -= len(line)
        if self._framing <= 0 or line.startswith((b"+", b"-")):
            raise OSError("a body in chunks that has no end, or a size that is none")
        return line
