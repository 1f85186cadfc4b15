"""Encode WSGI responses: status, headers and body as one byte string."""

import functools
import time
from collections.abc import Iterable, Sequence
from email.utils import formatdate
from http import HTTPStatus
from typing import Any

from ..http.json import dumps

# Prefixes of statuses without a body: RFC 9110, sections 15.3.5 and 15.4.5.
NO_BODY = ("1", "204", "304")
CLOSE = ("Connection", "close")


class ResponseHead:
    """The status and headers of a response; an instance is WSGI's `start_response`."""

    status = ""
    headers: Sequence[tuple[str, str]] = ()

    def __call__(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        """Set status and headers (PEP 3333); a second call replaces them. `write` is missing."""
        self.status, self.headers = status, headers

    @property
    def closes(self) -> bool:
        """Whether the application requests to close the connection."""
        return CLOSE in self.headers

    def encode(self, parts: Iterable[bytes], method: str, connection: str | None) -> bytes:
        """Return the whole response. Raises RuntimeError without a status."""
        if not self.status:
            raise RuntimeError("the application returned without a status")
        body = b"".join(parts)
        lines = [f"HTTP/1.1 {self.status}"]
        has_length = has_date = False
        for name, value in self.headers:
            if (name, value) != CLOSE:  # the server adds it itself
                lines.append(f"{name}: {value}")
            has_length |= name.lower() == "content-length"
            has_date |= name.lower() == "date"
        has_body = not self.status.startswith(NO_BODY)
        if not has_length and has_body:
            lines.append(f"Content-Length: {len(body)}")
        if not has_date:
            lines.append(f"Date: {_date(int(time.time()))}")
        if connection:
            lines.append(f"Connection: {connection}")
        head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
        return head + body if has_body and method != "HEAD" else head


def error_response(status: HTTPStatus, code: str, message: str) -> bytes:
    """Return a response with the usual error body that closes the connection."""
    head = ResponseHead()
    headers = [("Content-Type", "application/json"), ("X-Content-Type-Options", "nosniff")]
    head(f"{status.value} {status.phrase}", headers)
    return head.encode([dumps({"error": {"code": code, "message": message}})], "GET", "close")


@functools.lru_cache(1)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)
