"""The public keys of another issuer of tokens, from its JSON Web Key Set (RFC 7517)."""

import json
import logging
import math
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jwt

from ..concurrency import runtime
from ..errors import Overloaded

log = logging.getLogger(__name__)

ALGORITHMS = ("RS256", "ES256")
# Seconds for each exchange with the issuer, and for which a token with an unknown key waits.
FETCH_TIMEOUT = 5
# Seconds after which keys are fetched again, so that one that the issuer removed is refused.
MAX_AGE = 600
# Seconds between two fetches: any client can send a token with an unknown key.
COOLDOWN = 30
# Issuers behind some firewalls refuse the default of urllib.
HEADERS = {"User-Agent": "scoreboard"}


class KeySet:
    """The keys of one URL or file, fetched in the background; one fetch at a time.

    The last keys are kept while they cannot be fetched.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._keys: Mapping[str, jwt.PyJWK] = {}
        # By time.monotonic: the last attempt, and the last one that succeeded.
        self._tried_at = self._fetched_at = -math.inf
        self._idle = threading.Event()
        self._idle.set()
        self._lock = runtime.lock()

    def get(self, key_id: str) -> jwt.PyJWK | None:
        """Return the key with this id, None if the issuer has no such key.

        Blocks only if the key is unknown: until the keys are fetched, at most FETCH_TIMEOUT
        seconds. Raises Overloaded if it is unknown and the last fetch did not succeed.
        """
        if key := self._keys.get(key_id):
            if time.monotonic() - self._fetched_at > MAX_AGE:
                self._refresh()
            return key
        self._refresh()
        self._idle.wait(FETCH_TIMEOUT)
        key = self._keys.get(key_id)
        if key is None and self._fetched_at < self._tried_at:
            raise Overloaded(COOLDOWN)
        return key

    def _refresh(self) -> None:
        """Start to fetch the keys, unless they were fetched just now. Returns at once."""
        with self._lock:
            now = time.monotonic()
            if not self._idle.is_set() or now - self._tried_at < COOLDOWN:
                return
            self._tried_at = now
            self._idle.clear()
        runtime.spawn(self._fetch)

    def _fetch(self) -> None:
        try:
            self._keys = runtime.run_in_thread(fetch, self._source)
            self._fetched_at = time.monotonic()
        except Exception as error:
            log.warning("the last keys are kept, JWT_JWKS cannot be read: %s", error)
        finally:
            self._idle.set()


def fetch(source: str) -> dict[str, jwt.PyJWK]:
    """Return the public keys of a URL or file for ALGORITHMS, by their ids.

    Blocks. Raises OSError, ValueError or PyJWTError if there are none. Follows no redirects.
    """
    if source.startswith(("https://", "http://")):
        client = jwt.PyJWKClient(
            source, cache_jwk_set=False, timeout=FETCH_TIMEOUT, headers=HEADERS
        )
        found = client.fetch_data()
    else:
        found = json.loads(Path(source).read_bytes())
    listed = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(listed, list):
        raise ValueError("it is no JSON Web Key Set")
    # `d` is the private part: it has no place here, and PyJWT could not verify with it.
    public = [each for each in listed if isinstance(each, dict) and "d" not in each]
    found_keys = jwt.PyJWKSet(public) if public else ()
    keys = {str(each.key_id): each for each in found_keys if _is_usable(each)}
    if not keys:
        raise ValueError("it has no public key for RS256 or ES256 with a `kid`")
    return keys


def _is_usable(key: Any) -> bool:
    return (
        key.algorithm_name in ALGORITHMS
        and isinstance(key.key_id, str)
        and key.public_key_use in (None, "sig")
        and key.Algorithm.check_key_length(key.key) is None
    )
