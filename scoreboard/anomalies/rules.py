"""The rules of anomaly detection, which check the attempts that this process handles.

A rule checks finished attempts one by one and returns hits. A hit clears the state that caused it,
so continued misuse is reported again only after the same amount. Memory is bounded: each rule keeps
the most recent users and addresses, with a fixed number of timestamps each.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from itertools import pairwise
from math import dist, inf, sqrt
from typing import NamedTuple, TypeVar

from ..observability.audit import Attempt

T = TypeVar("T")

MAX_REMEMBERED = 10_000
# A proxy that does not check addresses could forward text of any length.
MAX_ADDRESS_LENGTH = 64

REFUSALS = (400, 401, 429)
MINUTE, HOUR = 60.0, 3600.0


class Hit(NamedTuple):
    """A broken rule. `user_id` is the user responsible, None if only the address is known."""

    rule: str
    user_id: str | None
    detail: str


Hits = tuple[Hit, ...]


class Memory(OrderedDict[Hashable, T]):
    """A value per key for the MAX_REMEMBERED most recently used keys."""

    def __init__(self, new: Callable[[], T]) -> None:
        super().__init__()
        self._new = new

    def of(self, key: Hashable) -> T:
        """Return the key's value, creating it if missing, and make it the most recently used."""
        if key not in self:
            self[key] = self._new()
        self.move_to_end(key)
        if len(self) > MAX_REMEMBERED:
            self.popitem(last=False)
        return self[key]


@dataclass(slots=True)
class _Climb:
    score: float = 0.0
    updates: int = 0
    largest: float = 0.0


class Jump:
    """A score further from the previous one than `times` the user's largest step so far.

    Reported after five updates at the earliest, and only if the score has changed before.
    """

    MIN_UPDATES = 5

    def __init__(self, times: int) -> None:
        self._times = times
        self._users = Memory(_Climb)

    def hits(self, attempt: Attempt) -> Hits:
        """Return a hit if this update is a jump."""
        if attempt.score is None or attempt.user_id is None:
            return ()
        climb = self._users.of(attempt.user_id)
        step = abs(attempt.score - climb.score) if climb.updates else 0.0
        largest, is_early = climb.largest, climb.updates < self.MIN_UPDATES
        climb.score, climb.largest = attempt.score, max(step, largest)
        climb.updates += 1
        if is_early or not 0 < largest * self._times < step:
            return ()
        detail = f"a step of {step:g}, the largest so far was {largest:g}"
        return (Hit("jump", attempt.user_id, detail),)


class Refusals:
    """More than `most` refusals within a minute, by a user or from an address.

    The user is the caller proven by the token, since a body can name any user. For an address no
    user is responsible, since many may share it. One user alone can break both limits.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._detail = f"more than {most} refusals within a minute"
        self._users = Memory(lambda: deque[float](maxlen=most + 1))
        self._addresses = Memory(lambda: deque[float](maxlen=most + 1))

    def hits(self, attempt: Attempt) -> Hits:
        """Return a hit for the user, the address or both, if this refusal is one too many."""
        if attempt.status not in REFUSALS:
            return ()
        hits: Hits = ()
        user_id = attempt.caller and attempt.caller.user_id
        if user_id and self._is_one_too_many(self._users, user_id, attempt):
            hits += (Hit("refusals", user_id, f"{self._detail} by this user"),)
        if self._is_one_too_many(self._addresses, _address(attempt), attempt):
            hits += (Hit("refusals", None, f"{self._detail} from this address"),)
        return hits

    def _is_one_too_many(self, memory: Memory[deque[float]], key: str, attempt: Attempt) -> bool:
        moments = memory.of(key)
        moments.append(attempt.started)
        is_over = len(moments) > self._most and attempt.started - moments[0] <= MINUTE
        if is_over:
            moments.clear()
        return is_over


class _Crowd(OrderedDict[str, float]):
    """When each user was last seen at an address, the most recent last."""

    quiet_until = -inf


class UsersPerAddress:
    """More than `most` users acting as players from one address within an hour.

    Reported once an hour per address. Scorers and admins are not counted: they do so by design.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._addresses = Memory(_Crowd)

    def hits(self, attempt: Attempt) -> Hits:
        """Return a hit if this user is one too many."""
        caller, now = attempt.caller, attempt.started
        if not caller or not caller.user_id or caller.role != "player":
            return ()
        crowd = self._addresses.of(_address(attempt))
        if now < crowd.quiet_until:
            return ()
        crowd[caller.user_id] = now
        crowd.move_to_end(caller.user_id)
        while now - next(iter(crowd.values())) > HOUR:
            crowd.popitem(last=False)
        if len(crowd) <= self._most:
            return ()
        crowd.clear()
        crowd.quiet_until = now + HOUR
        detail = f"more than {self._most} players within an hour from this address"
        return (Hit("users_per_address", caller.user_id, detail),)


class Regularity:
    """Twenty of a player's own updates in a row at intervals too regular for a person.

    That is a standard deviation of less than `spread` of the mean interval. Mean intervals
    outside of 0.2 s to 1 h are ignored.
    """

    IN_A_ROW = 20
    MIN_MEAN, MAX_MEAN = 0.2, HOUR

    def __init__(self, spread: float) -> None:
        self._spread = spread
        self._users = Memory(lambda: deque[float](maxlen=self.IN_A_ROW))

    def hits(self, attempt: Attempt) -> Hits:
        """Return a hit if this update completes a regular series."""
        caller = attempt.caller
        if attempt.status != 200 or not caller or caller.role != "player" or not caller.user_id:
            return ()
        moments = self._users.of(caller.user_id)
        moments.append(attempt.started)
        if len(moments) < self.IN_A_ROW:
            return ()
        count = self.IN_A_ROW - 1
        mean = (moments[-1] - moments[0]) / count
        if not self.MIN_MEAN <= mean <= self.MAX_MEAN:
            return ()
        intervals = [after - before for before, after in pairwise(moments)]
        spread = dist(intervals, [mean] * count) / sqrt(count)
        if spread >= self._spread * mean:
            return ()
        moments.clear()
        detail = f"{self.IN_A_ROW} updates every {mean:.3g} s, give or take {spread:.2g} s"
        return (Hit("regularity", caller.user_id, detail),)


def _address(attempt: Attempt) -> str:
    return attempt.origin.address[:MAX_ADDRESS_LENGTH]
