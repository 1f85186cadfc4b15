"""A bounded queue in front of expensive work, fair between addresses."""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

from ..errors import Overloaded

# Addresses whose last service is remembered; the oldest are dropped.
MAX_REMEMBERED = 10_000
# How long a request may wait, in seconds: most clients give up soon after.
MAX_WAIT = 10


class _Request:
    """A request for a slot. `settled` is set when it gets one or is dropped."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.settled = threading.Event()
        self.dropped = False


class FairQueue:
    """Fair queue: a free slot goes to the address that was served longest ago.

    An address with many requests waits behind one with few, and every address that waits is
    served. A full queue drops the request that would be served last.
    """

    def __init__(self, slots: int, max_waiting: int, max_per_address: int, retry_after: int):
        """Serve `slots` requests at a time. Refusals carry `retry_after`, in seconds."""
        self._free = slots
        self._max_waiting, self._max_per_address = max_waiting, max_per_address
        self._retry_after = retry_after
        self._waiting: list[_Request] = []
        self._numbers = count(1)
        # By address, the sequence number of its last service.
        self._served: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def slot(self, address: str) -> Iterator[None]:
        """Hold a slot for the context. Blocks for up to MAX_WAIT seconds. Raises Overloaded."""
        request = _Request(address)
        try:
            self._enter(request)
            if not request.settled.wait(MAX_WAIT) or request.dropped:
                raise Overloaded(self._retry_after)
            yield
        finally:
            self._leave(request)

    def _enter(self, request: _Request) -> None:
        with self._lock:
            if self._free:
                self._free -= 1
                self._serve(request)
                return
            self._waiting.append(request)
            of_address = sum(other.address == request.address for other in self._waiting)
            if of_address > self._max_per_address:
                self._drop(request)
            elif len(self._waiting) > self._max_waiting:
                # Of equal ranks the newest request is dropped: max() returns the first of equals.
                self._drop(max(reversed(self._waiting), key=self._rank))

    def _leave(self, request: _Request) -> None:
        with self._lock:
            if request in self._waiting:  # timed out
                self._waiting.remove(request)
            elif not request.dropped:
                self._free += 1
                if self._waiting:
                    following = min(self._waiting, key=self._rank)
                    self._waiting.remove(following)
                    self._free -= 1
                    self._serve(following)

    def _rank(self, request: _Request) -> int:
        return self._served.get(request.address, 0)

    def _serve(self, request: _Request) -> None:
        self._served[request.address] = next(self._numbers)
        self._served.move_to_end(request.address)
        if len(self._served) > MAX_REMEMBERED:
            self._served.popitem(last=False)
        request.settled.set()

    def _drop(self, request: _Request) -> None:
        self._waiting.remove(request)
        request.dropped = True
        request.settled.set()
