"""Find the addresses at which people can open the pages of this server."""

import contextlib
import socket
from collections.abc import Sequence

ALL_ADDRESSES = ("0.0.0.0", "::")  # noqa: S104  # nosec B104  # compared, never listened on
LOCAL = "127.0.0.1"
DEFAULT_PORT = 5000
# An address of documentation (RFC 5737). Connecting a UDP socket sends nothing.
ELSEWHERE = ("192.0.2.1", 9)


def urls(sockets: Sequence[socket.socket]) -> list[str]:
    """Return the URLs to open, that of this machine first. Does not block.

    A server that listens on all addresses can be opened from the local network as well.
    """
    found = dict.fromkeys(
        url(each, port)
        for host, port, *_ in (listening.getsockname() for listening in sockets)
        for each in ((LOCAL, *_of_network()) if host in ALL_ADDRESSES else (host,))
    )
    return list(found)


def url(host: str, port: int) -> str:
    """Return the URL of a server on this machine."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _of_network() -> list[str]:
    """Return this machine's address in the network of its default route, if it has one."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(ELSEWHERE)
        host = probe.getsockname()[0]
        return [] if host in (LOCAL, *ALL_ADDRESSES) else [host]
    return []
