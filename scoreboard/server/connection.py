"""Serve one HTTP connection as a state machine: read, respond to one request at a time, write.

Only the application may block; it runs in a task per request. An idle connection needs no task: it
is only a socket that the loop watches.
"""

import contextlib
import logging
import socket
import time
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from ..concurrency import runtime
from .request import Environ, Refused, RequestReader
from .response import Response, refusal

if TYPE_CHECKING:
    from .listener import Listener

log = logging.getLogger(__name__)

READ_SIZE = 16 * 1024
# Pipelined requests read ahead per connection; further ones stay in the kernel's buffer.
MAX_PIPELINED = 32
# Seconds for the whole body, from the end of the head; and for the response until its last byte,
# from the start of processing. A long poll takes 25 s at most.
BODY_TIMEOUT, EXCHANGE_TIMEOUT = 20, 40
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
# Bytes to read and drop from a client that continues to send after the last response.
MAX_DISCARDED = 256 * 1024
CLOSE_TIMEOUT = 5


class Connection:
    """A client's connection until it is closed, or detached for a WebSocket.

    `since` is when the current state began (`time.monotonic`). Methods run on the loop and do not
    block.
    """

    __slots__ = (
        "_closing",
        "_discarded",
        "_listener",
        "_output",
        "_reader",
        "_reading",
        "_socket",
        "_watch",
        "address",
        "answering",
        "since",
    )

    def __init__(self, listener: "Listener", client: socket.socket, address: str) -> None:
        self._listener = listener
        self._socket = client
        self.address = address
        base = {**listener.environ, "REMOTE_ADDR": address, "scoreboard.connection": self}
        self._reader = RequestReader(base, listener.max_body_size)
        self._output = b""
        self._closing = False
        self._discarded = 0
        self.answering = False
        self.since = time.monotonic()
        self._watch = runtime.SocketWatch(client)
        self._reading = False
        self._resume_reading()

    @property
    def is_answering(self) -> bool:
        """Whether a response is being computed or sent."""
        return self.answering or bool(self._output)

    @property
    def is_idle(self) -> bool:
        """Whether the connection has no request, not even part of one, and may be closed."""
        return not (self.is_answering or self._reader.in_request)

    def is_timed_out(self, now: float) -> bool:
        """Whether the timeout of the current state has passed."""
        if self._closing:
            timeout: float = CLOSE_TIMEOUT
        elif self.is_answering:
            timeout = EXCHANGE_TIMEOUT
        elif self._reader.expects_body:
            timeout = BODY_TIMEOUT
        else:
            timeout = self._listener.head_timeout
        return now - self.since > timeout

    def close(self) -> None:
        """Close the connection at once, in any state."""
        if self._socket is not None:
            self._watch.close()
            self._socket.close()
            self._forget()

    def detach(self) -> tuple[socket.socket, bytes]:
        """Release the socket for an upgrade; return it and the bytes read of the new protocol."""
        client, rest = self._socket, self._reader.upgraded or b""
        self._watch.close()
        self._forget()
        return client, rest

    def _forget(self) -> None:
        # The environ refers to this connection: breaking the cycle frees everything at once.
        self._socket = self._reader = None  # type: ignore[assignment]
        self._listener.forget(self)

    # --- reading ---

    def _resume_reading(self) -> None:
        if not self._reading:
            self._reading = True
            self._watch.on_readable(self._readable)

    def _stop_reading(self) -> None:
        if self._reading:
            self._reading = False
            self._watch.on_readable(None)

    def _readable(self) -> None:
        try:
            data = self._socket.recv(READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            if self.is_answering:
                # The client may have closed only its sending side, and wait for the response.
                self._stop_reading()
                self._closing = True
            else:
                self.close()
        elif self._closing:
            self._discard(data)
        else:
            self._take(data)

    def _take(self, data: bytes) -> None:
        reader = self._reader
        was_in_request, had_body_to_come = reader.in_request, reader.expects_body
        try:
            reader.feed(data)
        except Refused as error:
            self._refuse(error)
            return
        if not self.answering:
            if not was_in_request or (reader.expects_body and not had_body_to_come):
                self.since = time.monotonic()
            if reader.requests:
                self._answer_next()
            elif reader.expects_continue:
                self._send(CONTINUE)
        if len(reader.requests) >= MAX_PIPELINED or reader.upgraded is not None:
            self._stop_reading()

    def _refuse(self, error: Refused) -> None:
        """Queue an error response after all earlier ones, then close."""
        self._stop_reading()
        response = refusal(error.status, "bad_request", error.message)
        self._reader.requests.append({"scoreboard.refusal": response})
        if not self.answering:
            self._answer_next()

    # --- answering ---

    def _answer_next(self) -> None:
        environ = self._reader.requests.popleft()
        self.answering = True
        self.since = time.monotonic()
        if "scoreboard.refusal" in environ:
            self._listener.limiter.count(self.address)
            self._finish(environ["scoreboard.refusal"], last=True)
        else:
            runtime.start(self._answer, environ)

    def _answer(self, environ: Environ) -> None:
        """Run the application and send its response. Runs in a task; yields to the loop."""
        response = Response()
        parts: Iterable[bytes] = ()
        try:
            parts = self._listener.application(environ, response)
            if self._socket is None:
                return  # closed or detached meanwhile
            # The bytes after a refused upgrade may not be HTTP, so the connection ends.
            last = (
                not environ["scoreboard.keep_alive"]
                or self._reader.upgraded is not None
                or self._listener.stopping
                or self._closing
            )
            if response.status.startswith("4"):
                self._listener.limiter.count(environ["REMOTE_ADDR"])
                last |= response.closes or self._listener.limiter.is_blocked(self.address)
            connection = "close" if last else _keep_alive(environ)
            data = response.encode(parts, environ["REQUEST_METHOD"], connection)
        except Exception:
            log.exception("the application failed")
            last, data = (
                True,
                refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "server_error", "Something went wrong."),
            )
        finally:
            _close(parts)
        if self._socket is not None:
            self._finish(data, last)

    def _finish(self, data: bytes, last: bool) -> None:
        """Send a response, then continue with the next request or close."""
        self.answering = False
        self._send(data)
        if self._socket is None:
            return
        if last:
            self._closing = True
            self._reader.requests.clear()
        if not self._output:
            self._sent()

    def _sent(self) -> None:
        """Continue or close, after a response has been sent completely."""
        self.since = time.monotonic()
        if self._closing:
            self._shut_down()
        elif self._reader.requests:
            # In the next iteration of the loop, so that other clients are served in between.
            self.answering = True
            runtime.call_soon(self._answer_next_if_open)
        else:
            self._resume_reading()

    def _answer_next_if_open(self) -> None:
        if self._socket is None:
            return
        if len(self._reader.requests) < MAX_PIPELINED and self._reader.upgraded is None:
            self._resume_reading()
        self._answer_next()

    # --- writing ---

    def _send(self, data: bytes) -> None:
        if self._output:
            self._output += data
            return
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close()
            return
        if sent < len(data):
            self._output = data[sent:]
            self._watch.on_writable(self._writable)

    def _writable(self) -> None:
        try:
            sent = self._socket.send(self._output)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        self._output = self._output[sent:]
        if not self._output:
            self._watch.on_writable(None)
            if not self.answering:
                self._sent()

    def _shut_down(self) -> None:
        """Close the sending side, and discard input until the client closes or a timeout.

        Closing a socket with unread data resets the connection, and the client may lose the
        response: RFC 9112, section 9.6.
        """
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        self._resume_reading()

    def _discard(self, data: bytes) -> None:
        self._discarded += len(data)
        if self._discarded > MAX_DISCARDED:
            self.close()


def _keep_alive(environ: Environ) -> str | None:
    """Return the Connection header of a kept connection: HTTP/1.0 needs one, HTTP/1.1 does not."""
    return "keep-alive" if environ["SERVER_PROTOCOL"] == "HTTP/1.0" else None


def _close(parts: Any) -> None:
    close: Callable[[], object] | None = getattr(parts, "close", None)
    if close:
        close()
