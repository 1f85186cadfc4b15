"""Serve one HTTP connection as a state machine: read, respond to one request at a time, write.

Only the application may block; it runs in a task per request. An idle connection has no task.
"""

import contextlib
import logging
import socket
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from wsgiref.types import WSGIEnvironment

from ..concurrency import runtime
from .request import Refused, RequestReader
from .response import ResponseHead, error_response

if TYPE_CHECKING:
    from .listener import Listener

log = logging.getLogger(__name__)

READ_SIZE = 16 * 1024
# Pipelined requests read ahead per connection; the rest stay in the kernel's buffer.
MAX_PIPELINED = 32
# Seconds for the whole body, from the end of the head; and for the response until its last byte,
# from the start of processing. A long poll takes 25 s at most.
BODY_TIMEOUT, EXCHANGE_TIMEOUT = 20, 40
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
# Bytes to read and drop from a client that continues to send after the last response; and seconds.
MAX_DISCARDED, CLOSE_TIMEOUT = 256 * 1024, 5


class HttpConnection:
    """A client's connection until it is closed, or detached for a WebSocket. Nothing blocks.

    `since` is when the current state began (`time.monotonic`).
    """

    def __init__(self, listener: "Listener", client: socket.socket, address: str) -> None:
        self._listener = listener
        self._socket = client
        self.address = address
        base = {**listener.environ, "REMOTE_ADDR": address, "scoreboard.connection": self}
        self._reader = RequestReader(base, listener.max_body_size)
        self._output = b""
        self._processing = False
        self._closing = False
        self._discarded = 0
        self.since = time.monotonic()
        self._watch = runtime.SocketWatch(client)
        self._reading = False
        self._watch_input(True)

    @property
    def is_responding(self) -> bool:
        """Whether a response is being computed or sent."""
        return self._processing or bool(self._output)

    @property
    def is_idle(self) -> bool:
        """Whether the connection may be closed: it has no request, not even an incomplete one."""
        return not (self.is_responding or self._reader.in_request)

    def is_timed_out(self, now: float) -> bool:
        """Whether the timeout of the current state has passed."""
        if self._closing:
            timeout: float = CLOSE_TIMEOUT
        elif self.is_responding:
            timeout = EXCHANGE_TIMEOUT
        elif self._reader.expects_body:
            timeout = BODY_TIMEOUT
        else:
            timeout = self._listener.head_timeout
        return now - self.since > timeout

    def close(self) -> None:
        """Close the connection at once, in any state."""
        if self._socket is not None:
            self.detach()[0].close()

    def detach(self) -> tuple[socket.socket, bytes]:
        """Release the socket for an upgrade; return it and the bytes read of the new protocol."""
        client, rest = self._socket, self._reader.upgraded or b""
        self._watch.close()
        # The environ refers to this connection: breaking the cycle frees everything at once.
        self._socket = self._reader = None  # type: ignore[assignment]
        self._listener.remove(self)
        return client, rest

    # --- reading ---

    def _watch_input(self, on: bool) -> None:
        if self._reading != on:
            self._reading = on
            self._watch.on_readable(self._readable if on else None)

    def _readable(self) -> None:
        try:
            data = self._socket.recv(READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data and self.is_responding:
            # The client may have closed only its sending side, and wait for the response.
            self._watch_input(False)
            self._closing = True
        elif not data:
            self.close()
        elif self._closing:
            self._discarded += len(data)
            if self._discarded > MAX_DISCARDED:
                self.close()
        else:
            self._received(data)

    def _received(self, data: bytes) -> None:
        reader = self._reader
        was_in_request, expected_body = reader.in_request, reader.expects_body
        try:
            reader.feed(data)
        except Refused as error:
            # The error response follows those to all earlier requests, and is the last.
            refusal = error_response(error.status, "bad_request", error.message)
            reader.requests.append({"scoreboard.refusal": refusal})
            self._watch_input(False)
        if not self._processing:
            if not was_in_request or (reader.expects_body and not expected_body):
                self.since = time.monotonic()
            if reader.requests:
                self._process_next()
            elif reader.expects_continue:
                self._send(CONTINUE)
        is_full = len(reader.requests) >= MAX_PIPELINED or reader.upgraded is not None
        if is_full and not self._closing:
            self._watch_input(False)

    # --- responding ---

    def _process_next(self) -> None:
        environ = self._reader.requests.popleft()
        self._processing = True
        self.since = time.monotonic()
        if "scoreboard.refusal" in environ:
            self._listener.limiter.count(self.address)
            self._finish(environ["scoreboard.refusal"], is_last=True)
        else:
            runtime.start(self._respond, environ)

    def _respond(self, environ: WSGIEnvironment) -> None:
        """Run the application and send its response. Runs in a task; yields to the loop."""
        head = ResponseHead()
        parts: Any = ()
        try:
            parts = self._listener.application(environ, head)
            if self._socket is None:
                return  # closed or detached meanwhile
            # The bytes after a refused upgrade may not be HTTP, so the connection ends.
            ends = self._closing or self._listener.stopping or self._reader.upgraded is not None
            is_last = ends or not environ["scoreboard.keep_alive"]
            if head.status.startswith("4"):
                self._listener.limiter.count(environ["REMOTE_ADDR"])
                is_last |= head.closes or self._listener.limiter.is_blocked(self.address)
            # HTTP/1.0 needs a header to keep a connection, HTTP/1.1 does not.
            kept = "keep-alive" if environ["SERVER_PROTOCOL"] == "HTTP/1.0" else None
            data = head.encode(parts, environ["REQUEST_METHOD"], "close" if is_last else kept)
        except Exception:
            log.exception("the application failed")
            is_last, status = True, HTTPStatus.INTERNAL_SERVER_ERROR
            data = error_response(status, "server_error", "Something went wrong.")
        finally:
            if hasattr(parts, "close"):
                parts.close()
        if self._socket is not None:
            self._finish(data, is_last)

    def _finish(self, data: bytes, is_last: bool) -> None:
        """Send a response, then continue with the next request or close."""
        self._processing = False
        if is_last:
            self._closing = True
            self._reader.requests.clear()
        self._send(data)

    def _send(self, data: bytes) -> None:
        if self._output:
            self._output += data
        else:
            self._output = data
            self._writable()

    def _writable(self) -> None:
        """Send what the kernel takes. After a complete response, continue or close."""
        try:
            sent = self._socket.send(self._output)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close()
            return
        self._output = self._output[sent:]
        if self._output:
            self._watch.on_writable(self._writable)
            return
        self._watch.on_writable(None)
        if not self._processing:
            self._after_response()

    def _after_response(self) -> None:
        self.since = time.monotonic()
        if self._closing:
            # Closing a socket with unread data resets the connection, and the client may lose the
            # response: discard input until the client closes. RFC 9112, section 9.6.
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)
            self._watch_input(True)
        elif self._reader.requests:
            # In the next loop iteration: other clients are served in between.
            self._processing = True
            runtime.call_soon(self._continue)
        else:
            self._watch_input(True)

    def _continue(self) -> None:
        if self._socket is not None:
            if len(self._reader.requests) < MAX_PIPELINED and self._reader.upgraded is None:
                self._watch_input(True)
            self._process_next()
