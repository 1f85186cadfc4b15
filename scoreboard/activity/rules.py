"""The rules of what is unusual, each over the attempts that this process sees.

A rule looks at one attempt after the other and tells hits. A hit uses up what led to it, so that
going on in the same way tells the next one only after as much again. What a rule remembers is
bounded: of users and addresses those seen last, of each the last so many moments.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import inf, sqrt
from typing import Generic, TypeVar

from ..audit import Attempt

T = TypeVar("T")

MOST_REMEMBERED = 10_000
# A proxy that passes addresses on unchecked could pass on anything.
LONGEST_ADDRESS = 64

REFUSALS = (400, 401, 429)
MINUTE, HOUR = 60.0, 3600.0


@dataclass(frozen=True)
class Hit:
    """A rule was broken. `user_id` is who did it, None where only the address is to blame."""

    rule: str
    user_id: str | None
    detail: str


class Memory(Generic[T]):
    """Something about each of those seen last; whoever was not seen for longest is forgotten."""

    def __init__(self, new: Callable[[], T]) -> None:
        self._new = new
        self._things: OrderedDict[Hashable, T] = OrderedDict()

    def __len__(self) -> int:
        return len(self._things)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._things

    def of(self, key: Hashable) -> T:
        """Return what is remembered of this one, something new if that is nothing."""
        if key not in self._things:
            self._things[key] = self._new()
            if len(self._things) > MOST_REMEMBERED:
                self._things.popitem(last=False)
        self._things.move_to_end(key)
        return self._things[key]


@dataclass
class _Climb:
    score: float = 0.0
    updates: int = 0
    largest: float = 0.0


class Jump:
    """A score more than `times` the user's largest step so far away from the one before it.

    Told after five updates at the earliest, and of a user whose score has moved before.
    """

    ENOUGH = 5

    def __init__(self, times: int) -> None:
        self._times = times
        self._users = Memory(_Climb)

    def hits(self, attempt: Attempt) -> Iterator[Hit]:
        """Tell whether this update is a jump."""
        if attempt.score is None or attempt.user_id is None:
            return
        climb = self._users.of(attempt.user_id)
        step = abs(attempt.score - climb.score) if climb.updates else 0.0
        largest, enough = climb.largest, climb.updates >= self.ENOUGH
        climb.score, climb.largest = attempt.score, max(step, largest)
        climb.updates += 1
        if enough and 0 < largest * self._times < step:
            detail = f"a step of {step:g}, the largest so far was {largest:g}"
            yield Hit("jump", attempt.user_id, detail)


class Refusals:
    """More than `most` refusals within a minute, by a user or from an address.

    The user is the one who asks, proven by the token: in the body anybody can name anybody. From
    an address nobody is to blame, since many may share it; one user alone breaks both rules.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._users = Memory(self._moments)
        self._addresses = Memory(self._moments)

    def hits(self, attempt: Attempt) -> Iterator[Hit]:
        """Tell whether this refusal is one too many."""
        if attempt.status not in REFUSALS:
            return
        user_id = attempt.caller and attempt.caller.user_id
        detail = f"more than {self._most} refusals within a minute"
        if user_id and self._too_many(self._users.of(user_id), attempt.started):
            yield Hit("refusals", user_id, f"{detail} by this user")
        if self._too_many(self._addresses.of(_address(attempt)), attempt.started):
            yield Hit("refusals", None, f"{detail} from this address")

    def _moments(self) -> deque[float]:
        return deque(maxlen=self._most + 1)

    def _too_many(self, moments: deque[float], now: float) -> bool:
        moments.append(now)
        too_many = len(moments) > self._most and now - moments[0] <= MINUTE
        if too_many:
            moments.clear()
        return too_many


class _Crowd(OrderedDict[str, float]):
    """The users seen at an address and when, the latest last."""

    quiet_until = -inf


class UsersPerAddress:
    """More than `most` users acting as players from one address within an hour.

    Told once an hour of an address. For scorers and admins it is their job.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._addresses = Memory(_Crowd)

    def hits(self, attempt: Attempt) -> Iterator[Hit]:
        """Tell whether this user is one too many."""
        caller, now = attempt.caller, attempt.started
        if not caller or not caller.user_id or caller.role != "player":
            return
        crowd = self._addresses.of(_address(attempt))
        if now < crowd.quiet_until:
            return
        crowd[caller.user_id] = now
        crowd.move_to_end(caller.user_id)
        while now - next(iter(crowd.values())) > HOUR:
            crowd.popitem(last=False)
        if len(crowd) > self._most:
            crowd.clear()
            crowd.quiet_until = now + HOUR
            detail = f"more than {self._most} players within an hour from this address"
            yield Hit("users_per_address", caller.user_id, detail)


class Regularity:
    """A player's own updates, twenty in a row, at intervals as regular as a machine's.

    That is a standard deviation of less than `spread` of the mean interval. Faster than five a
    second or slower than hourly is not judged.
    """

    IN_A_ROW = 20
    SHORTEST, LONGEST = 0.2, HOUR

    def __init__(self, spread: float) -> None:
        self._spread = spread
        self._users = Memory(lambda: deque[float](maxlen=self.IN_A_ROW))

    def hits(self, attempt: Attempt) -> Iterator[Hit]:
        """Tell whether this update came as if by clockwork."""
        caller = attempt.caller
        if attempt.status != 200 or not caller or caller.role != "player" or not caller.user_id:
            return
        moments = self._users.of(caller.user_id)
        moments.append(attempt.started)
        if len(moments) < self.IN_A_ROW:
            return
        mean = (moments[-1] - moments[0]) / (len(moments) - 1)
        squares = sum((after - before - mean) ** 2 for before, after in pairwise(moments))
        spread = sqrt(squares / (len(moments) - 1))
        if self.SHORTEST <= mean <= self.LONGEST and spread < self._spread * mean:
            moments.clear()
            detail = f"{self.IN_A_ROW} updates every {mean:.3g} s, give or take {spread:.2g} s"
            yield Hit("regularity", caller.user_id, detail)


def _address(attempt: Attempt) -> str:
    return attempt.origin.address[:LONGEST_ADDRESS]
