"""How long the server of `python wsgi.py` waits for a client, whatever it sends and however slowly.

Nobody is waited for without end, and nobody who sends without end keeps the loop from the others.
"""

import contextlib
import functools
import re
import socket
import threading
import time
from collections.abc import Callable
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
# What is taken of a request's body in one go.
TURN_BYTES = 64 * 1024
# Between two requests of all who send the next before they have the answer to the last, and how
# many of them one connection gets answered in a row.
AHEAD_SECONDS, MOST_AHEAD = 0.005, 10
# Sizes of chunks, and trailers: those of a body of 64 KiB in chunks of one byte, and more.
MOST_FRAMING = 512 * 1024
# Before whoever sends more is hung up on, and may come again.
PAUSE_SECONDS = 1
# What the environment of a request has under this name, to be called for no other request to be
# taken by that connection.
LAST_ANSWER = "scoreboard.last_answer"

NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
LENGTH = re.compile(r"[0-9]{1,18}", re.ASCII)
_TOLD = dumps({"error": {"code": "bad_request", "message": "This is no HTTP that can be read."}})
UNREADABLE = (
    b"HTTP/1.1 %d %b\r\nContent-Type: application/json\r\nX-Content-Type-Options: nosniff\r\n"
    b"Content-Length: " + str(len(_TOLD)).encode() + b"\r\nConnection: close\r\n\r\n" + _TOLD
)

_one_ahead = threading.Lock()


def head_seconds(proxies: int) -> int:
    """Return how long to wait for the head of a request that comes through so many proxies."""
    return PROXYS_HEAD_SECONDS if proxies else HEAD_SECONDS


class Connection(list[Any]):
    """One that speaks HTTP, as the server has it: address, socket, state.

    `since` is when it began to wait, by time.monotonic: for the head of a request or, once this is
    there, for the rest; then there is a `body` to be read, be it empty. `ahead` is how many
    requests in a row came before the answer to the last; `is_over`, that it was hung up on.
    """

    def __init__(self, address: Any, client: Any, state: Any) -> None:
        super().__init__([address, client, state])
        self.is_over, self.ahead = False, 0
        self.body: Any = None
        self.await_head()

    def await_head(self) -> None:
        """Begin to wait for the head of the next request: whoever is ahead, behind all who are."""
        if self.ahead:
            with _one_ahead:
                if not self.is_over:
                    time.sleep(AHEAD_SECONDS)
        self.since, self.body = time.monotonic(), None

    def look_ahead(self, stream: Any) -> None:
        """Take note of whether the client has sent more of this stream, its answer still to come.

        Of one whose body nobody has read that cannot be told, and it is not said to have.
        """
        self.ahead = self.ahead + 1 if self._is_whole() and _is_there(stream, self[1]) else 0

    def await_rest(self, body: Any) -> None:
        """Begin to wait for the body, and for the end of the answer."""
        self.since, self.body = time.monotonic(), body
        if body.chunked_input or body.content_length:
            body.rfile = _Body(body.rfile)

    def is_late(self, now: float, head_seconds: int) -> bool:
        """Whether the client has had all the time that it gets for what it is at."""
        return now - self.since > self._seconds(head_seconds)

    def _seconds(self, head_seconds: int) -> int:
        if self.body is None:
            return head_seconds
        return EXCHANGE_SECONDS if self._is_whole() else BODY_SECONDS

    def _is_whole(self) -> bool:
        """Whether all of the body was read."""
        if self.body.chunked_input:
            whole: bool = self.body.chunk_length == 0
        else:
            whole = self.body.position >= self.body.content_length
        return whole

    def hang_up(self) -> None:
        """Wake up whoever reads from the connection or writes to it: it is over."""
        self.is_over = True
        with contextlib.suppress(OSError):
            self[1].shutdown(socket.SHUT_RDWR)


def bounded(protocol: Any, take_head: Callable[[str], bool]) -> Any:
    """Return the server's HTTP, a class, held to all this; `take_head` may say no."""

    class Bounded(protocol):
        def parse_request(self) -> bool:
            """Read the head of a request; one that two readers could read in two ways is none."""
            self.close_connection = not take_head(self.client_address[0])
            if self.close_connection or self.conn_state.is_over or not super().parse_request():
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
            self.close_connection = self.conn_state.is_over
            if not self.close_connection:
                super().handle_one_request()

        def handle_one_response(self) -> None:
            _answer(self, super().handle_one_response)

        def get_environ(self) -> Any:
            environ = super().get_environ()
            self.conn_state.await_rest(environ["wsgi.input"])
            self.close_connection |= self.conn_state.ahead >= MOST_AHEAD
            environ[LAST_ANSWER] = functools.partial(setattr, self, "close_connection", True)
            return environ

    return Bounded


def _answer(handler: Any, answer: Callable[[], object]) -> None:
    """Have the server answer a request, and leave nothing that holds on to itself.

    It would stay, with what was read and written, until all garbage is looked for: which takes a
    third of a second once ten thousand who were refused have left some.
    """
    handler.application = _looking_ahead(handler.server.app, handler.conn_state, handler.rfile)
    try:
        answer()
    finally:
        handler.application = None
        handler.environ.clear()


def _looking_ahead(application: Any, connection: Connection, stream: Any) -> Any:
    """Return the application as one that looks ahead before it answers."""

    def answer(environ: Any, start_response: Any) -> Any:
        def start(*told: Any) -> Any:
            connection.look_ahead(stream)
            return start_response(*told)

        return application(environ, start)

    return answer


def _is_there(stream: Any, client: socket.socket) -> bool:
    """Whether there is anything to be read, by a look that does not wait."""
    client.setblocking(False)
    try:
        return bool(stream.peek(1))
    except OSError:
        return False
    finally:
        client.setblocking(True)


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
            time.sleep(PAUSE_SECONDS)
            raise OSError("a body in chunks that has no end, or a size that is none")
        return line
