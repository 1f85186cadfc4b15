"""A bounded queue in front of a resource that few callers can use at a time."""

import contextlib
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from itertools import count

from ..errors import Overloaded
from .runtime import Signal, lock

# Addresses whose last service is recorded; the oldest are dropped.
MAX_ADDRESSES = 10_000


class _Caller:
    """A caller that waits, is inside (has a slot), or was refused with an error."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.number = 0
        self.inside = False
        self.error: Exception | None = None
        self.settled = Signal()


class BoundedQueue:
    """Admits a few callers at a time; a free slot goes to the address that was served longest ago.

    So an address with many callers does not delay the others. Callers of one address, and callers
    without an address, are served in order of arrival. A full queue refuses the caller that would
    be served last. When a caller inside fails with one of the `shared` exceptions, every caller
    that waits at that moment fails with the same exception, without trying.
    """

    def __init__(
        self,
        slots: int,
        max_waiting: int,
        timeout: float,
        max_per_address: int | None = None,
        retry_after: int = 1,
        shared: tuple[type[Exception], ...] = (),
        observe_wait: Callable[[float], object] = lambda seconds: None,
    ) -> None:
        """Create an empty queue; `timeout` (of a wait) and `retry_after` are in seconds.

        `observe_wait` is called with the seconds that a caller waited, unless it entered at once.
        """
        self._free = slots
        self._max_waiting, self._timeout = max_waiting, timeout
        self._max_per_address = max_waiting if max_per_address is None else max_per_address
        self._retry_after, self._shared = retry_after, shared
        self._observe_wait = observe_wait
        self._waiting: dict[str, deque[_Caller]] = {}
        self._numbers = count(1)
        # By address, the sequence number of its last service.
        self._served: OrderedDict[str, int] = OrderedDict()
        self._lock = lock()

    @contextlib.contextmanager
    def slot(self, address: str = "") -> Iterator[None]:
        """Hold a slot for the context. Blocks until one is free.

        Raises Overloaded if the queue is full or the wait times out, or a shared exception.
        """
        caller = _Caller(address)
        try:
            self._enter(caller)
            if not caller.inside:
                entered = time.perf_counter()
                caller.settled.wait(self._timeout)
                self._observe_wait(time.perf_counter() - entered)
            if not caller.inside:
                # Without the traceback, to which every caller would add.
                raise (caller.error or Overloaded(self._retry_after)).with_traceback(None)
            yield
        except self._shared as error:
            if caller.inside:
                self._refuse_all(error)
            raise
        finally:
            self._leave(caller)

    def _enter(self, caller: _Caller) -> None:
        with self._lock:
            if self._free:
                self._admit(caller)
                return
            caller.number = next(self._numbers)
            of_address = self._waiting.setdefault(caller.address, deque())
            of_address.append(caller)
            if len(of_address) > self._max_per_address:
                self._refuse(caller, Overloaded(self._retry_after))
            elif sum(map(len, self._waiting.values())) > self._max_waiting:
                last_callers = (callers[-1] for callers in self._waiting.values())
                last = max(last_callers, key=lambda c: (self._served.get(c.address, 0), c.number))
                self._refuse(last, Overloaded(self._retry_after))

    def _leave(self, caller: _Caller) -> None:
        with self._lock:
            if caller.inside:
                self._free += 1
                if self._waiting:
                    address = min(self._waiting, key=lambda each: self._served.get(each, 0))
                    following = self._waiting[address][0]
                    self._remove(following)
                    self._admit(following)
            elif caller.error is None:  # timed out
                self._remove(caller)

    def _admit(self, caller: _Caller) -> None:
        self._free -= 1
        caller.inside = True
        self._served[caller.address] = next(self._numbers)
        self._served.move_to_end(caller.address)
        if len(self._served) > MAX_ADDRESSES:
            self._served.popitem(last=False)
        caller.settled.set()

    def _refuse_all(self, error: Exception) -> None:
        with self._lock:
            for caller in [each for callers in self._waiting.values() for each in callers]:
                self._refuse(caller, error)

    def _refuse(self, caller: _Caller, error: Exception) -> None:
        self._remove(caller)
        caller.error = error
        caller.settled.set()

    def _remove(self, caller: _Caller) -> None:
        callers = self._waiting[caller.address]
        callers.remove(caller)
        if not callers:
            del self._waiting[caller.address]
