"""Conditional responses: ETag and If-None-Match (RFC 9110, section 13)."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from werkzeug.http import parse_etags


@dataclass(frozen=True)
class CacheableBody:
    """A body and its ETag. `body` is None if the client has a current copy."""

    etag: str
    body: bytes | None


def etag_of(content: bytes) -> str:
    """Return the ETag of the content: a hash, without quotes."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def is_known(etag: str, environ: Mapping[str, Any]) -> bool:
    """Whether the request's If-None-Match header contains this ETag."""
    given = environ.get("HTTP_IF_NONE_MATCH")
    return given is not None and parse_etags(given).contains_weak(etag)


def headers(etag: str) -> dict[str, str]:
    """Return headers that let clients store the response but revalidate it before each use."""
    return {"ETag": f'"{etag}"', "Cache-Control": "no-cache"}
