"""Redis clients that try only once, for a bounded time."""

from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry


def connect(url: str, timeout: float) -> "redis.Redis":
    """Return a client that waits this many seconds to connect, and as long for each answer.

    Resolving the host's name may block longer: call it in a task that nobody waits for.
    """
    return redis.Redis.from_url(
        url,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        retry=Retry(NoBackoff(), 0),
        **tls_options(url),
    )


def tls_options(url: str) -> dict[str, Any]:
    """Return the options that a client of this URL needs for TLS.

    With rediss:// the certificate is not checked: Heroku's Redis has a self-signed one.
    """
    return {"ssl_cert_reqs": None} if url.startswith("rediss://") else {}
