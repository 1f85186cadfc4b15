"""Block new connections from addresses with too many refused requests."""

import time

# Refused requests or packets of an address per window, and how long it is blocked, in seconds.
MAX_REFUSALS, WINDOW, BLOCK_TIME = 300, 10.0, 10.0
MAX_ADDRESSES = 10_000


class RefusalLimiter:
    """Counts refusals by address, in fixed windows of `WINDOW` seconds."""

    def __init__(self, behind_proxy: bool = False) -> None:
        """With `behind_proxy`, count nothing: all connections come from the proxy's address."""
        self._behind_proxy = behind_proxy
        self._began = time.monotonic()
        self._counts: dict[str, int] = {}
        self._blocked_until: dict[str, float] = {}

    def count(self, address: str) -> None:
        """Count a refused request or packet of the address."""
        if self._behind_proxy:
            return
        now = time.monotonic()
        if now - self._began > WINDOW:
            self._began = now
            self._counts.clear()
            self._blocked_until = {a: t for a, t in self._blocked_until.items() if t > now}
        refusals = self._counts.get(address, 0) + 1
        if len(self._counts) < MAX_ADDRESSES or address in self._counts:
            self._counts[address] = refusals
        if refusals > MAX_REFUSALS:
            self._blocked_until[address] = now + BLOCK_TIME

    def is_blocked(self, address: str) -> bool:
        """Whether new connections from the address are currently refused."""
        return self._blocked_until.get(address, 0.0) > time.monotonic()
