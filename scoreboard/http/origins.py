"""Check the Origin header: one rule for HTTP (CORS), Socket.IO and plain WebSockets.

An origin is allowed if it is the server's own host or is listed in `CORS_ORIGINS`. `normalise` is
applied to both sides of every comparison.
"""

import functools
import re
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import idna

from ..errors import Forbidden

DEFAULT_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}
# A host name has at most 253 characters: the bound keeps the work for a hostile header small.
MAX_ORIGIN_LENGTH = 300
ORIGIN = re.compile(
    r"([a-z][a-z0-9+.-]*)://(\[[0-9a-f:.]+\]|[^\[\]:/?#@\\]*)(?::([0-9]{1,5}))?",
    re.IGNORECASE | re.ASCII,
)
HOST = re.compile(r"(?:[a-z0-9_-]+\.)*[a-z0-9_-]+\.?", re.ASCII)
# https://url.spec.whatwg.org/#ends-in-a-number-checker: browsers parse such a host as IPv4.
ENDS_IN_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)\.?", re.ASCII)


class AllowedOrigins:
    """The allowed origins: the server's own host and `listed`, normalised by `normalise_listed`."""

    def __init__(self, listed: Iterable[str]) -> None:
        self._listed = frozenset(listed)

    def require(self, environ: Mapping[str, Any]) -> None:
        """Raise Forbidden unless the request has no Origin header or one that is allowed."""
        if environ.get("HTTP_ORIGIN") and not self.allows(environ):
            raise Forbidden("Pages of this origin may not connect.", "origin_not_allowed")

    def allows(self, environ: Mapping[str, Any]) -> bool:
        """Whether the request's Origin header is the server's own host or is listed.

        The own host is the Host header with any of the schemes http, https, ws and wss, so that a
        proxy that terminates TLS needs no extra header.
        """
        header = environ.get("HTTP_ORIGIN", "")
        if "*" in self._listed:
            return bool(header)
        try:
            origin = normalise(header)
        except ValueError:
            return False
        is_listed = origin in self._listed or self._is_listed_subdomain(origin)
        return is_listed or _is_own(origin, environ.get("HTTP_HOST", ""))

    def _is_listed_subdomain(self, origin: str) -> bool:
        scheme, _, host = origin.partition("://")
        labels = host.split(".")
        parents = (".".join(labels[start:]) for start in range(1, len(labels)))
        return any(f"{scheme}://*.{parent}" in self._listed for parent in parents)


def _is_own(origin: str, host: str) -> bool:
    scheme = origin.partition("://")[0]
    try:
        # With the origin's scheme, the Host header has the same default port.
        return scheme in DEFAULT_PORTS and normalise(f"{scheme}://{host}") == origin
    except ValueError:
        return False


def normalise_listed(text: str) -> str:
    """Return an entry of `CORS_ORIGINS` in its normal form.

    An entry is `*`, an origin, or an origin whose host begins with one `*.` label. Raises
    ValueError, whose message names the rule.
    """
    if text == "*":
        return text
    scheme, marker, domain = text.partition("://*.")
    if not marker:
        return normalise(text)
    origin = normalise(f"{scheme}://{domain}")
    host = origin.partition("://")[2]
    if not host or host.startswith("[") or ENDS_IN_NUMBER.fullmatch(host.partition(":")[0]):
        raise ValueError("*. must be followed by a domain")
    return origin.replace("://", "://*.", 1)


@functools.lru_cache(maxsize=1000)
def normalise(origin: str) -> str:
    """Return an origin with scheme and host in lower case, IDNA and no default port.

    Raises ValueError for anything but `null`, `scheme://host` and `scheme://host:port`. The host
    may be empty, as in `file://`, for schemes other than http, https, ws and wss.
    """
    if origin.lower() == "null":
        return "null"
    match = ORIGIN.fullmatch(origin) if len(origin) <= MAX_ORIGIN_LENGTH else None
    if not match:
        raise ValueError("an origin is scheme://host or scheme://host:port and nothing after it")
    scheme, port = match[1].lower(), match[3]
    host = _normal_host(match[2], scheme in DEFAULT_PORTS)
    if port is None:
        return f"{scheme}://{host}"
    port = int(port)
    if not host or not 0 < port < 65536:
        raise ValueError("a port is a number from 1 to 65535 after a host")
    return f"{scheme}://{host}" + ("" if DEFAULT_PORTS.get(scheme) == port else f":{port}")


def _normal_host(host: str, is_web: bool) -> str:
    if not host and not is_web:
        return ""
    try:
        if host.startswith("["):
            return f"[{IPv6Address(host[1:-1])}]"
        # Like browsers, which unlike IDNA 2008 allow emoji: https://url.spec.whatwg.org/#idna
        labels = idna.uts46_remap(host, std3_rules=False).split(".")
        host = ".".join(
            label if label.isascii() else f"xn--{label.encode('punycode').decode()}"
            for label in labels
        )
        if is_web and ENDS_IN_NUMBER.fullmatch(host):
            return str(IPv4Address(host))
    except ValueError:
        host = ""
    if not HOST.fullmatch(host):
        raise ValueError("the host must be a domain, an IPv4 address or an IPv6 address in []")
    return host
