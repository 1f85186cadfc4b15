"""Read a request: JSON body, bearer token, query, client and known ETags."""

import functools
import random
import re
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Network, ip_address
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from flask import has_request_context, request
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge

from .json import loads

REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{8,64}", re.ASCII)
# Longer than an address with brackets, a zone and a port; bounds the keys of the cache.
MAX_ADDRESS_LENGTH = 80


class ClientInfo(NamedTuple):
    """Where a request came from; `transport` is, for example, "http" or "socket.io"."""

    transport: str
    address: str
    request_id: str


def client_address(text: str) -> str | None:
    """Return the address that limits per address count, or None if the text has no valid one.

    For IPv6 it is the /64 network, the usual size of one customer's site:
    https://www.rfc-editor.org/rfc/rfc6177#section-2. An IPv4-mapped address becomes IPv4. A port,
    and the brackets around IPv6, are removed.
    """
    return _client_address(text[:MAX_ADDRESS_LENGTH])


@functools.lru_cache(maxsize=10_000)
def _client_address(text: str) -> str | None:
    for candidate in (text, text.rpartition(":")[0]):
        try:
            address = ip_address(candidate.removeprefix("[").removesuffix("]"))
        except ValueError:
            continue
        if isinstance(address, IPv4Address):
            return str(address)
        return str(address.ipv4_mapped or IPv6Network((int(address), 64), strict=False))
    return None


def json_body() -> Any:
    """Return the decoded JSON body; None if invalid or larger than `MAX_CONTENT_LENGTH`."""
    try:
        return request.get_json(force=True)
    except (BadRequest, RequestEntityTooLarge, RecursionError):
        return None


def plain_json_body(environ: Mapping[str, Any]) -> Any:
    """Return the decoded JSON body of Content-Length bytes; None if invalid or incomplete."""
    length = int(environ.get("CONTENT_LENGTH") or "0")
    try:
        body = environ["wsgi.input"].read(length)
        return loads(body) if len(body) == length else None
    except (OSError, ValueError, RecursionError):
        return None


def long_json_body(max_size: int) -> Any:
    """Return the decoded JSON body, or None if it is invalid or larger than `max_size` bytes."""
    request.max_content_length = max_size
    return json_body()


def query() -> dict[str, str]:
    """Return the query parameters, the first of each name.

    Werkzeug's parser raises for bytes that are not UTF-8. Here they are replaced, so that
    validation rejects them.
    """
    text = request.query_string.decode(errors="replace")
    return dict(reversed(parse_qsl(text, keep_blank_values=True)))


def known_etags() -> frozenset[str]:
    """Return the ETags in the request's If-None-Match header."""
    return frozenset(request.if_none_match.as_set(include_weak=True))


def bearer_token() -> str | None:
    """Return the token of the Authorization header, or None if there is none."""
    return token_of(request.environ)


def token_of(environ: Mapping[str, Any]) -> str | None:
    """Return the token of a request's Authorization header, or None if there is none."""
    scheme, _, token = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def client_info() -> ClientInfo:
    """Return the client of the current request; see `client_info_of`."""
    return client_info_of(request.environ)


def current_client() -> ClientInfo:
    """Return the client of the current request; outside one, its address is "unknown"."""
    return client_info() if has_request_context() else ClientInfo("unknown", "unknown", _new_id())


def client_info_of(environ: Mapping[str, Any]) -> ClientInfo:
    """Return the client of a request. The request id is a valid X-Request-ID, else a new one."""
    request_id = environ.get("HTTP_X_REQUEST_ID", "")
    if not REQUEST_ID.fullmatch(request_id):
        request_id = _new_id()
    return ClientInfo("http", environ.get("REMOTE_ADDR") or "unknown", request_id)


def event_client_info(address: str) -> ClientInfo:
    """Return the client of a Socket.IO event on a connection from this address."""
    return ClientInfo("socket.io", address, _new_id())


def _new_id() -> str:
    # Unique but not a secret; a uuid4 takes five times as long.
    return f"{random.getrandbits(128):032x}"  # nosec B311
