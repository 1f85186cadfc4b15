"""Answers that a client need not be sent again: ETag and If-None-Match, RFC 9110, section 13."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from werkzeug.http import parse_etags


@dataclass(frozen=True)
class Told:
    """A body and its ETag; no body if it was not made, because the client has it."""

    etag: str
    body: bytes | None


def etag_of(content: bytes) -> str:
    """Return an ETag that is another one for any other content."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def is_known(etag: str, environ: Mapping[str, Any]) -> bool:
    """Whether the client of this request says that it has what is called so."""
    given = environ.get("HTTP_IF_NONE_MATCH")
    return given is not None and parse_etags(given).contains_weak(etag)


def headers(etag: str) -> dict[str, str]:
    """Return the headers for clients to keep an answer, and to ask each time if it still holds."""
    return {"ETag": f'"{etag}"', "Cache-Control": "no-cache"}
