"""Send one request to a webhook, to an address that was checked."""

import contextlib
import functools
import re
import ssl
import threading
from collections.abc import Mapping
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, ReadTimeoutError

from ..concurrency import runtime
from .addresses import is_public

# In seconds: for each address of the host, and for all of an attempt.
CONNECT_TIMEOUT, TIMEOUT = 3, 10
MAX_ADDRESSES = 3
# Seconds that a receiver may ask to wait.
MAX_RETRY_AFTER = 600
# Lookups at a time. One that hangs keeps one of 20 threads, which SQLite needs too, for longer than
# its caller waits.
_LOOKUPS = threading.Semaphore(4)


class NotSent(Exception):
    """There is no response; the message says why, in one line."""


def post(
    url: str, body: bytes, headers: Mapping[str, str], allow_private: bool
) -> tuple[int, float]:
    """Send a POST; return the status of the response and its Retry-After in seconds, 0 without.

    Follows no redirect and reads no body. Connects to the very address that was checked, so that
    the answer of a name server cannot change in between. Blocks only this caller, for at most
    TIMEOUT under `python wsgi.py`. Raises NotSent.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with runtime.time_limit(TIMEOUT):
            with _LOOKUPS:
                found = runtime.resolve(host, port, TIMEOUT)
            *others, last = _allowed(found, allow_private)
            for address in others:
                with contextlib.suppress(NewConnectionError, ConnectTimeoutError):
                    return _post(address, port, url, body, headers)
            return _post(last, port, url, body, headers)
    except (TimeoutError, ReadTimeoutError):
        raise NotSent(f"no response within {TIMEOUT} s") from None
    except (HTTPError, OSError, ValueError) as error:
        # Not its text: it has the path of the URL, which may be a secret.
        raise NotSent(_reason(error)) from error


def _allowed(addresses: list[str], allow_private: bool) -> list[str]:
    allowed = [each for each in addresses if allow_private or is_public(each)]
    if not allowed:
        raise NotSent("the host has no public address, and WEBHOOK_ALLOW_PRIVATE is not set")
    return allowed[:MAX_ADDRESSES]


def _post(
    address: str, port: int, url: str, body: bytes, headers: Mapping[str, str]
) -> tuple[int, float]:
    parts = urlsplit(url)
    timeout = urllib3.Timeout(connect=CONNECT_TIMEOUT, read=TIMEOUT)
    target = f"[{address}]" if ":" in address else address
    pool: urllib3.HTTPConnectionPool
    if parts.scheme == "https":
        pool = urllib3.HTTPSConnectionPool(
            target, port, ssl_context=_tls(), server_hostname=parts.hostname
        )
    else:
        pool = urllib3.HTTPConnectionPool(target, port)
    path = parts._replace(scheme="", netloc="", path=parts.path or "/").geturl()
    with pool:
        response = pool.urlopen(
            "POST",
            path,
            body,
            {**headers, "Host": parts.netloc, "User-Agent": "Scoreboard"},
            retries=False,
            redirect=False,
            timeout=timeout,
            preload_content=False,
        )
        response.close()
        wait = response.headers.get("Retry-After", "")
        is_seconds = re.fullmatch("[0-9]{1,9}", wait)
        return response.status, min(int(wait), MAX_RETRY_AFTER) if is_seconds else 0


@functools.cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _reason(error: Exception) -> str:
    if isinstance(error, (NewConnectionError, ConnectTimeoutError)):
        return "the connection failed"
    return f"the request failed: {type(error).__name__}"
