"""What every door reads from a request: its JSON, its token, where it came from, what it has."""

import functools
import random
import re
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Network, ip_address
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from flask import Response, request
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge

from .etags import Told, headers, is_known
from .json import loads

REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{8,64}", re.ASCII)
# An address with brackets, a zone and a port is shorter; the bound is for the cache.
MAX_ADDRESS_LENGTH = 80


class Origin(NamedTuple):
    """Where a request came from: its transport, its address and its id."""

    door: str
    address: str
    request_id: str


def client_address(text: str) -> str | None:
    """Return the address that limits count by, or None if there is none in the text.

    Of IPv6 it is the /64, which one customer has: https://www.rfc-editor.org/rfc/rfc6177#section-2.
    An IPv4-mapped address is the IPv4 address. A port, and the brackets around IPv6, are dropped.
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
    """Return the JSON of the body, or None if it is none or larger than MAX_CONTENT_LENGTH."""
    try:
        return request.get_json(force=True)
    except (BadRequest, RequestEntityTooLarge, RecursionError):
        return None


def plain_json_body(environ: Mapping[str, Any]) -> Any:
    """Return the JSON of a body of a stated length, or None if it is none or did not all come."""
    length = int(environ.get("CONTENT_LENGTH") or "0")
    try:
        body = environ["wsgi.input"].read(length)
        return loads(body) if len(body) == length else None
    except (OSError, ValueError, RecursionError):
        return None


def long_json_body(most: int) -> Any:
    """Return the JSON of the body, or None if it is none or larger than `most` bytes."""
    request.max_content_length = most
    return json_body()


def query() -> dict[str, str]:
    """Return the parameters of the query, the first of each name.

    Werkzeug's own fails at bytes that are not UTF-8; here they are replaced, and found wrong.
    """
    given = parse_qsl(request.query_string.decode(errors="replace"), keep_blank_values=True)
    return dict(reversed(given))


def known_etags() -> frozenset[str]:
    """Return the ETags of the answers that the client says it has."""
    return frozenset(request.if_none_match.as_set(include_weak=True))


def answer(told: Told) -> Response:
    """Return the response that tells this, without a body if the client has it."""
    if told.body is None or is_known(told.etag, request.environ):
        response = Response(status=304)
    else:
        response = Response(told.body, mimetype="application/json")
    response.headers.update(headers(told.etag))
    return response


def bearer_token() -> str | None:
    """Return the token of the Authorization header, or None if there is none."""
    return token_of(request.environ)


def token_of(environ: Mapping[str, Any]) -> str | None:
    """Return the token of a request's Authorization header, or None if there is none."""
    scheme, _, token = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def origin() -> Origin:
    """Return where this request came from; a well-formed X-Request-ID is kept."""
    return origin_of(request.environ)


def origin_of(environ: Mapping[str, Any]) -> Origin:
    """Return where a request came from; a well-formed X-Request-ID is kept."""
    given = environ.get("HTTP_X_REQUEST_ID", "")
    request_id = given if given and REQUEST_ID.fullmatch(given) else _new_id()
    return Origin("http", environ.get("REMOTE_ADDR") or "unknown", request_id)


def event_origin(address: str) -> Origin:
    """Return where a Socket.IO event came from, by a connection from this address."""
    return Origin("socket.io", address, _new_id())


def _new_id() -> str:
    # Unique, and no secret: a uuid4 takes five times as long.
    return f"{random.getrandbits(128):032x}"
