"""Parse HTTP requests into WSGI environs, with llhttp in strict mode."""

import functools
import re
from collections import deque
from http import HTTPStatus
from io import BytesIO
from urllib.parse import unquote_to_bytes
from wsgiref.types import WSGIEnvironment

import httptools

MAX_TARGET_SIZE = 16 * 1024
# Per header and per head: browsers send all cookies of a domain, and proxies add headers.
MAX_HEADER_SIZE, MAX_HEAD_SIZE = 16 * 1024, 32 * 1024
# Of a chunked body with chunk sizes and trailers: enough for 64 KiB in chunks of one byte.
MAX_CHUNKED_SIZE = 512 * 1024

# RFC 9110, section 7.2: the host and, optionally, the port.
HOST = re.compile(rb"[A-Za-z0-9._~%!$&'()*+;=:\[\]-]*")
ABSOLUTE_TARGET = re.compile(rb"https?://([^/?#]*)([^#]*)", re.IGNORECASE)


class Refused(Exception):
    """A request that the server refuses; the connection is closed after the response."""

    def __init__(self, message: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(message)
        self.message, self.status = message, status


class RequestReader:
    """Parses the requests of one connection, in order.

    `requests` holds the complete requests. `upgraded` is None until a request names another
    protocol; then it holds the bytes after that request.
    """

    def __init__(self, base: WSGIEnvironment, max_body_size: int) -> None:
        """Create a reader. Environs start as copies of `base`; `max_body_size` is in bytes."""
        self._base = base
        self._max_body_size = max_body_size
        self._parser = httptools.HttpRequestParser(self)
        self.requests: deque[WSGIEnvironment] = deque()
        self.upgraded: bytes | None = None
        self.in_request = self.expects_body = False

    @property
    def expects_continue(self) -> bool:
        """Whether the client waits for `100 Continue` before it sends the body."""
        has_no_body = self.expects_body and not self._body
        return has_no_body and self._environ.get("HTTP_EXPECT", "").lower() == "100-continue"

    def feed(self, data: bytes) -> None:
        """Parse bytes from the client. After it raises Refused it must not be called again."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self.upgraded = data[upgrade.args[0] :]
        except httptools.HttpParserCallbackError as error:
            if isinstance(error.__context__, Refused):
                raise error.__context__ from None
            raise
        except httptools.HttpParserError:
            raise Refused("Malformed HTTP request.") from None
        if self.in_request and self.expects_body:
            self._received_size += len(data)  # includes chunk sizes and trailers
            self._check_body_size(self._received_size, MAX_CHUNKED_SIZE)
        elif self.in_request:
            self._head_size += len(data)
            self._check_head(self._head_size)

    def _check_head(self, size: int, max_size: int = MAX_HEAD_SIZE) -> None:
        if size > max_size:
            limits = (
                f"{MAX_HEAD_SIZE // 1024} KiB, and each header at most {MAX_HEADER_SIZE // 1024}"
            )
            message = f"The head of a request must be at most {limits} KiB."
            raise Refused(message, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def _check_body_size(self, size: int, max_size: int) -> None:
        # Not 413: the specification fixes the statuses of the update endpoint.
        if size > max_size:
            raise Refused(f"The body must be at most {self._max_body_size // 1024} KiB.")

    # --- called by the parser ---

    def on_message_begin(self) -> None:
        """Start a new request."""
        self.in_request, self.expects_body = True, False
        self._head_size = self._body_size = self._received_size = 0
        self._target = b""
        self._body: list[bytes] = []
        self._environ = dict(self._base)

    def on_url(self, part: bytes) -> None:
        """Add a part of the request target."""
        self._target += part
        if len(self._target) > MAX_TARGET_SIZE:
            raise Refused("The request target is too long.", HTTPStatus.REQUEST_URI_TOO_LONG)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header. Trailers are dropped."""
        if self.expects_body:
            return
        size = len(name) + len(value) + 4
        self._head_size += size
        self._check_head(self._head_size)
        self._check_head(size, MAX_HEADER_SIZE)
        key = _environ_key(name)
        if key is None:
            return
        environ = self._environ
        if key not in environ:
            environ[key] = value.decode("latin-1")
        elif key == "HTTP_HOST":
            raise Refused("A request has one Host header.")
        else:
            environ[key] += "," + value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Check the complete head."""
        environ, parser = self._environ, self._parser
        version = parser.get_http_version()
        environ["REQUEST_METHOD"] = parser.get_method().decode()
        environ["SERVER_PROTOCOL"] = "HTTP/" + version
        if version not in ("1.1", "1.0"):
            raise Refused("Use HTTP/1.1 or HTTP/1.0.", HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
        self._set_target(environ)
        if version == "1.1" and "HTTP_HOST" not in environ:
            raise Refused("A request has a Host header.")
        if not HOST.fullmatch(environ.get("HTTP_HOST", "").encode("latin-1")):
            raise Refused("The Host header is no host.")
        environ["scoreboard.keep_alive"] = parser.should_keep_alive()
        length = environ.get("CONTENT_LENGTH")
        self._check_body_size(int(length or 0), self._max_body_size)
        self.expects_body = bool(length) or "HTTP_TRANSFER_ENCODING" in environ

    def on_body(self, part: bytes) -> None:
        """Add a part of the body."""
        self._body.append(part)
        self._body_size += len(part)
        self._check_body_size(self._body_size, self._max_body_size)

    def on_message_complete(self) -> None:
        """Add the complete request to `requests`."""
        environ, body = self._environ, b"".join(self._body)
        # The application always gets a Content-Length, also for a chunked body.
        if environ.pop("HTTP_TRANSFER_ENCODING", None) or body:
            environ["CONTENT_LENGTH"] = str(len(body))
        environ["wsgi.input"] = BytesIO(body)
        self.in_request = self.expects_body = False
        self.requests.append(environ)

    def _set_target(self, environ: WSGIEnvironment) -> None:
        target = self._target
        if target.startswith(b"/") or (target == b"*" and environ["REQUEST_METHOD"] == "OPTIONS"):
            pass
        elif absolute := ABSOLUTE_TARGET.fullmatch(target):
            # RFC 9112, section 3.2.2: the host in the target replaces the header's.
            host, target = absolute[1], absolute[2]
            if not host or not HOST.fullmatch(host):
                raise Refused("The request target has no valid host.")
            environ["HTTP_HOST"] = host.decode()
            if not target.startswith(b"/"):
                target = b"/" + target
        else:
            raise Refused("The request target must begin with a slash.")
        path, _, query = target.partition(b"?")
        if b"%" in path:
            path = unquote_to_bytes(path)
        environ["PATH_INFO"] = path.decode("latin-1")
        environ["QUERY_STRING"] = query.decode("latin-1")


@functools.lru_cache(1024)
def _environ_key(name: bytes) -> str | None:
    """Return the key of a header in the environ, or None if the header is dropped.

    A name with an underscore is dropped: it would have the same key as the name with a hyphen,
    which a proxy may have set or removed.
    """
    if b"_" in name:
        return None
    key = name.decode("latin-1").upper().replace("-", "_")
    return key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + key
