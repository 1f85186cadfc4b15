"""How Redis is asked for TLS."""

from typing import Any


def options(url: str) -> dict[str, Any]:
    """Return what a client of this URL needs beside it.

    With rediss:// the connection is encrypted and the certificate not checked: Heroku's Redis
    shows one that it signed itself.
    """
    return {"ssl_cert_reqs": None} if url.startswith("rediss://") else {}
