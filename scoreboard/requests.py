"""What every door reads from a request: its JSON, its token, where it came from, what it has."""

import functools
import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv6Address, IPv6Network
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


def init_app(app: Flask) -> None:
    """Believe as many proxies in front as there are, and no more, who and what was asked for.

    Outermost, so that every door, and the limits per address, see the same.
    """
    proxies, inner = app.config["TRUSTED_PROXIES"], cast(Any, app.wsgi_app)
    if proxies:
        inner = ProxyFix(_of_networks(inner), x_for=proxies, x_proto=proxies, x_host=proxies)
    app.wsgi_app = cast(Any, _without_traps(inner))  # type: ignore[method-assign]


def _without_traps(inner: Application) -> Application:
    """Return an application that is asked without what does harm to Werkzeug.

    It takes seconds for some cookies, which nobody reads here, and gives all of a list up for one
    open quote in it, which no address has.
    """

    def ask(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        environ.pop("HTTP_COOKIE", None)
        if forwarded := environ.get("HTTP_X_FORWARDED_FOR"):
            environ["HTTP_X_FORWARDED_FOR"] = re.sub(r'["\\]', "", forwarded)
        return inner(environ, start_response)

    return ask


def _of_networks(inner: Application) -> Application:
    """Return an application to which all of a network that one customer has are one address.

    Of IPv6 that is a /64: https://www.rfc-editor.org/rfc/rfc6177#section-2
    """

    def ask(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if ":" in (address := environ.get("REMOTE_ADDR", "")):
            environ["REMOTE_ADDR"] = network_of(address)
        return inner(environ, start_response)

    return ask


@functools.lru_cache(maxsize=10_000)
def network_of(address: str) -> str:
    """Return the /64 that an IPv6 address is in, or the IPv4 address that it stands for.

    What is no address at all is returned as it is.
    """
    try:
        whole = IPv6Address(address)
    except ValueError:
        return address
    if whole.ipv4_mapped:
        return str(whole.ipv4_mapped)
    return str(IPv6Network((int(whole), 64), strict=False))


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
