"""What every door reads from a request: its JSON, its token, where it came from, what it has."""

import functools
import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Address, IPv6Network, ip_address
from typing import Any, cast
from urllib.parse import parse_qsl

from flask import Flask, Response, request
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge
from werkzeug.middleware.proxy_fix import ProxyFix

from .audit import Origin
from .conditional import Told, headers, is_known
from .json_provider import loads

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]

REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{8,64}", re.ASCII)
FORWARDED = ("HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_HOST", "HTTP_X_FORWARDED_PROTO")
# An address with brackets, a zone and a port is shorter; the bound is for the cache.
MAX_ADDRESS_LENGTH = 80


def init_app(app: Flask) -> None:
    """Apply the X-Forwarded headers of TRUSTED_PROXIES proxies, the outermost of all middleware.

    Behind it REMOTE_ADDR is a bare address and nothing sees an X-Forwarded header: Engine.IO would
    believe them from anybody.
    """
    proxies, inner = app.config["TRUSTED_PROXIES"], _without_forwarded(cast(Any, app.wsgi_app))
    if proxies:
        inner = ProxyFix(
            _with_client_address(inner), x_for=proxies, x_proto=proxies, x_host=proxies
        )
    app.wsgi_app = cast(Any, _without_traps(inner))  # type: ignore[method-assign]


def _without_traps(inner: Application) -> Application:
    """Return an application that is asked without what does harm to Werkzeug.

    It takes seconds for some cookies, which nobody reads here, and gives all of a list up for one
    open quote in it, which no address and no host has.
    """

    def ask(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        environ.pop("HTTP_COOKIE", None)
        for header in FORWARDED:
            if forwarded := environ.get(header):
                environ[header] = re.sub(r'["\\]', "", forwarded)
        return inner(environ, start_response)

    return ask


def _without_forwarded(inner: Application) -> Application:
    """Return an application that never sees the X-Forwarded headers."""

    def handle(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        for header in FORWARDED:
            environ.pop(header, None)
        return inner(environ, start_response)

    return handle


def _with_client_address(inner: Application) -> Application:
    """Return an application for which the client has one address, whatever ProxyFix found.

    A forwarded value that is no address (`unknown`, `_hidden`) counts as the proxy itself: as it
    is, each would be a client of its own, without limits.
    """

    def handle(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        proxy = environ["werkzeug.proxy_fix.orig"]["REMOTE_ADDR"] or "unknown"
        client = environ.get("REMOTE_ADDR") or proxy
        environ["REMOTE_ADDR"] = client_address(client) or client_address(proxy) or proxy
        return inner(environ, start_response)

    return handle


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
    request_id = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
    return Origin("http", environ.get("REMOTE_ADDR") or "unknown", request_id)


def event_origin(address: str) -> Origin:
    """Return where a Socket.IO event came from, by a connection from this address."""
    return Origin("socket.io", address, uuid.uuid4().hex)
