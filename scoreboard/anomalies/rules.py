"""The rules of anomaly detection, which check the attempts that this process handles.

A rule checks finished attempts one by one and returns anomalies. An anomaly clears the state that
caused it, so continued misuse is reported again only after the same amount. Memory is bounded: each
rule keeps the most recent users and addresses, with a fixed number of timestamps each.
"""

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
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


class Anomaly(NamedTuple):
    """A broken rule. `user_id` is the user responsible, None if only the address is known."""

    rule: str
    user_id: str | None
    detail: str


Anomalies = tuple[Anomaly, ...]


def per_key(create: Callable[[], T]) -> Callable[..., T]:
    """Return a function that returns the value of a key, created if missing: an LRU cache."""
    return lru_cache(MAX_REMEMBERED)(lambda *key: create())


@dataclass(slots=True)
class _ScoreHistory:
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
        self._history_of = per_key(_ScoreHistory)

    def find(self, attempt: Attempt) -> Anomalies:
        """Return an anomaly if this update is a jump."""
        if attempt.score is None or attempt.user_id is None:
            return ()
        history = self._history_of(attempt.user_id)
        step = abs(attempt.score - history.score) if history.updates else 0.0
        largest, is_early = history.largest, history.updates < self.MIN_UPDATES
        history.score, history.largest = attempt.score, max(step, largest)
        history.updates += 1
        if is_early or not 0 < largest * self._times < step:
            return ()
        detail = f"a step of {step:g}, the largest so far was {largest:g}"
        return (Anomaly("jump", attempt.user_id, detail),)


class Refusals:
    """More than `limit` refusals within a minute, by a user or from an address.

    The user is the caller proven by the token, since a body can name any user. For an address no
    user is responsible, since many may share it. One user alone can break both limits.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._detail = f"more than {limit} refusals within a minute"
        self._times_of_user = per_key(lambda: deque[float](maxlen=limit + 1))
        self._times_of_address = per_key(lambda: deque[float](maxlen=limit + 1))

    def find(self, attempt: Attempt) -> Anomalies:
        """Return an anomaly for the user, the address or both, if this refusal exceeds a limit."""
        if attempt.status not in REFUSALS:
            return ()
        found: Anomalies = ()
        user_id = attempt.caller and attempt.caller.user_id
        if user_id and self._add_and_check(self._times_of_user(user_id), attempt.started):
            found += (Anomaly("refusals", user_id, f"{self._detail} by this user"),)
        if self._add_and_check(self._times_of_address(_address(attempt)), attempt.started):
            found += (Anomaly("refusals", None, f"{self._detail} from this address"),)
        return found

    def _add_and_check(self, times: deque[float], now: float) -> bool:
        """Add a refusal at `now`. If it exceeds the limit, clear all and return True."""
        times.append(now)
        exceeds = len(times) > self._limit and now - times[0] <= MINUTE
        if exceeds:
            times.clear()
        return exceeds


class _Players(OrderedDict[str, float]):
    """The time of the latest attempt of each player at an address, the most recent at the end."""

    quiet_until = -inf


class UsersPerAddress:
    """More than `limit` users acting as players from one address within an hour.

    Reported once an hour per address. Scorers and admins are not counted: they do so by design.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._players_at = per_key(_Players)

    def find(self, attempt: Attempt) -> Anomalies:
        """Return an anomaly if this user exceeds the limit."""
        caller, now = attempt.caller, attempt.started
        if not caller or not caller.user_id or caller.role != "player":
            return ()
        players = self._players_at(_address(attempt))
        if now < players.quiet_until:
            return ()
        players[caller.user_id] = now
        players.move_to_end(caller.user_id)
        while now - next(iter(players.values())) > HOUR:
            players.popitem(last=False)
        if len(players) <= self._limit:
            return ()
        players.clear()
        players.quiet_until = now + HOUR
        detail = f"more than {self._limit} players within an hour from this address"
        return (Anomaly("users_per_address", caller.user_id, detail),)


class Regularity:
    """Twenty of a player's own updates in a row at intervals that suggest automation.

    That is a standard deviation of less than `spread` of the mean interval. Mean intervals
    outside of 0.2 s to 1 h are ignored.
    """

    IN_A_ROW = 20
    MIN_MEAN, MAX_MEAN = 0.2, HOUR

    def __init__(self, spread: float) -> None:
        self._spread = spread
        self._times_of = per_key(lambda: deque[float](maxlen=self.IN_A_ROW))

    def find(self, attempt: Attempt) -> Anomalies:
        """Return an anomaly if this update completes a regular series."""
        caller = attempt.caller
        if attempt.status != 200 or not caller or caller.role != "player" or not caller.user_id:
            return ()
        times = self._times_of(caller.user_id)
        times.append(attempt.started)
        if len(times) < self.IN_A_ROW:
            return ()
        count = self.IN_A_ROW - 1
        mean = (times[-1] - times[0]) / count
        if not self.MIN_MEAN <= mean <= self.MAX_MEAN:
            return ()
        intervals = [after - before for before, after in pairwise(times)]
        spread = dist(intervals, [mean] * count) / sqrt(count)
        if spread >= self._spread * mean:
            return ()
        times.clear()
        detail = f"{self.IN_A_ROW} updates every {mean:.3g} s, give or take {spread:.2g} s"
        return (Anomaly("regularity", caller.user_id, detail),)


def _address(attempt: Attempt) -> str:
    return attempt.client.address[:MAX_ADDRESS_LENGTH]
