"""Create Redis clients that never retry and have timeouts."""

from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry


def connect(url: str, timeout: float) -> "redis.Redis":
    """Return a client that waits `timeout` seconds to connect, and again for each response.

    Its name lookup may block longer: use it in a task that no request waits for without a limit.
    """
    return redis.Redis.from_url(
        url,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        retry=Retry(NoBackoff(), 0),
        **tls_options(url),
    )


def tls_options(url: str) -> dict[str, Any]:
    """Return TLS options that accept any certificate: Heroku's Redis has a self-signed one."""
    return {"ssl_cert_reqs": None} if url.startswith("rediss://") else {}
