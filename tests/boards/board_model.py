"""The boards of a ledger and their seasons as the contract defines them, in memory.

Times are in microseconds since the epoch, and resets in UTC. Nothing is stored but the history:
standings are computed from it, so a voided score or a hidden user needs no code of its own.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

MINUTE = 60 * 10**6
DAY = 24 * 60 * MINUTE
# 1970-01-01 was a Thursday.
WEEKDAYS = ("thursday", "friday", "saturday", "sunday", "monday", "tuesday", "wednesday")


def iso(time: int | None) -> str | None:
    """Return a time as the server writes it."""
    if time is None:
        return None
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time)
    return moment.isoformat().replace("+00:00", "Z")


def next_end(reset: dict | None, after: int) -> int | None:
    """Return the first boundary of a reset after a time."""
    if reset is None:
        return None
    hours, minutes = reset["at"].split(":")
    at = (int(hours) * 60 + int(minutes)) * MINUTE
    days = range(after // DAY, after // DAY + 9)
    is_weekly = reset["every"] == "week"
    return next(
        day * DAY + at
        for day in days
        if day * DAY + at > after and (not is_weekly or WEEKDAYS[day % 7] == reset["on"])
    )


@dataclass(eq=False)
class Accepted:
    """An accepted update: its receipt, and the season in which it counts, by board."""

    key: tuple
    user_id: str
    value: float
    timestamp: str
    created_at: int
    seasons: dict[str, int]
    receipt: dict = field(default_factory=dict)
    is_voided: bool = False


@dataclass
class FrozenModel:
    """What a frozen board shows: each user's score and its time in the season of the freeze."""

    season: int
    image: dict[str, tuple[float, int]]
    revealed: int = 0


class BoardModel:
    """A board: its rules, and the starts of its seasons. `ends_at` is that of the current one."""

    frozen: FrozenModel | None = None

    def __init__(self, board_id: str, source: str | None, rules: dict, now: int) -> None:
        self.board_id, self.source, self.rules = board_id, source, dict(rules)
        self.starts = [now]
        self.ends_at = next_end(rules["reset"], now)

    @property
    def season(self) -> int:
        return len(self.starts)

    @property
    def shown_season(self) -> int:
        return self.frozen.season if self.frozen else self.season

    def state(self, time: int) -> str:
        if self.frozen:
            return "frozen"
        return "open" if self.is_open(time) else "closed"

    def advance(self, time: int) -> None:
        while self.ends_at is not None and self.ends_at <= time:
            self.open_season(self.ends_at)

    def open_season(self, start: int) -> None:
        self.starts.append(start)
        self.ends_at = next_end(self.rules["reset"], start)

    def changes_after(self, time: int, until: int) -> list[int]:
        """Return the times after `time` at which the season or the state changes."""
        found = [self.rules["opens_at"], self.rules["closes_at"]]
        end = self.ends_at
        while end is not None and end <= until:
            found.append(end)
            end = next_end(self.rules["reset"], end)
        return [each for each in found if each is not None and time < each <= until]

    def is_open(self, time: int) -> bool:
        opens_at, closes_at = self.rules["opens_at"], self.rules["closes_at"]
        return (opens_at is None or opens_at <= time) and (closes_at is None or time < closes_at)

    def refuses(self, value: float) -> str | None:
        """Return the code of the error of a value that can never count here."""
        low, high = self.rules["min_score"], self.rules["max_score"]
        if (low is not None and value < low) or (high is not None and value > high):
            return "score_out_of_range"
        exponent = Decimal(repr(value)).normalize().as_tuple().exponent
        if self.rules["policy"] == "total" and exponent < -9:
            return "invalid_input"
        return None

    def seasons(self) -> list[dict]:
        """Return the seasons as the server lists them."""
        ends = [*self.starts[1:], self.ends_at]
        found = [
            {"number": number, "starts_at": iso(start), "ends_at": iso(end)}
            for number, (start, end) in enumerate(zip(self.starts, ends, strict=True), 1)
        ]
        return found[::-1]

    def season_at(self, time: int) -> int:
        """Return the season that had this time, from the list of seasons alone."""
        ranges = pairwise([*self.starts, 2**63])
        return next(n for n, (start, end) in enumerate(ranges, 1) if start <= time < end)


class LedgerModel:
    """A ledger and its derived boards, which have one clock and one history."""

    def __init__(self, ledger: BoardModel) -> None:
        self.boards = [ledger]
        self.archived: list[BoardModel] = []
        self.clock = ledger.starts[0]
        self.history: list[Accepted] = []

    @property
    def ledger(self) -> BoardModel:
        return self.boards[0]

    def advance(self, time: int) -> None:
        """Move the clock, unless it is later already, and open the seasons that are due."""
        self.clock = max(self.clock, time)
        for board in self.boards:
            board.advance(self.clock)

    def change(self, now: int) -> None:
        """Take the time of a change: it is later than all updates so far."""
        self.advance(self.first_time(now, 1))

    def is_due(self, now: int) -> bool:
        return any(board.changes_after(self.clock, now) for board in self.boards)

    def first_time(self, now: int, count: int) -> int:
        """Return the time of the first of `count` updates: none is beyond a boundary from it."""
        first = max(self.clock, now) + 1
        while True:
            last = first + count - 1
            inside = [t for board in self.boards for t in board.changes_after(first, last)]
            if not inside:
                return first
            first = max(inside)

    def record(self, updates: list[dict], now: int) -> list[tuple[str, Accepted | None]]:
        """Record updates that no field refuses; return a code, "" for an accepted one, for each."""
        first = self.first_time(now, len(updates))
        before = [(list(board.starts), board.ends_at) for board in self.boards]
        for board in self.boards:
            board.advance(first)
        outcomes: list[tuple[str, Accepted | None]] = []
        accepted = 0
        for update in updates:
            known = next((each for each in self.history if each.key == update["key"]), None)
            pin, current = update["season"], self.ledger.season
            if known:
                outcomes.append(("replayed", known))
            elif not self.ledger.is_open(first):
                outcomes.append(("board_closed", None))
            elif pin is not None and pin != current:
                outcomes.append(("season_over" if pin < current else "invalid_input", None))
            else:
                outcomes.append(("", self._accept(update, first + accepted)))
                accepted += 1
        if accepted:
            self.clock = first + len(updates) - 1
        else:  # the transaction is rolled back
            for board, (starts, ends_at) in zip(self.boards, before, strict=True):
                board.starts, board.ends_at = starts, ends_at
        return outcomes

    def _accept(self, update: dict, time: int) -> Accepted:
        value = update["value"]
        seasons = {
            board.board_id: board.season
            for board in self.boards
            if board is self.ledger or (board.is_open(time) and not board.refuses(value))
        }
        accepted = Accepted(
            update["key"], update["user_id"], value, update["timestamp"], time, seasons
        )
        self.history.append(accepted)
        return accepted

    def score_after(self, board: BoardModel, accepted: Accepted) -> float:
        """Return the user's score on the board when this update had just been accepted."""
        until = self.history[: self.history.index(accepted) + 1]
        season = accepted.seasons[board.board_id]
        return _scores(board, season, until)[accepted.user_id][0]

    def standings(self, board: BoardModel, season: int, hidden: set[str]) -> list[dict]:
        """Return the true leaderboard of a season: rank, position, user, score and time."""
        return self._entries(board, _scores(board, season, self.history), hidden)

    def public_standings(self, board: BoardModel, hidden: set[str]) -> list[dict]:
        """Return the leaderboard of the season that the public sees."""
        if board.frozen:
            return self._entries(board, board.frozen.image, hidden)
        return self.standings(board, board.season, hidden)

    def freeze(self, board: BoardModel) -> None:
        if not board.frozen:
            image = _scores(board, board.season, self.history)
            board.frozen = FrozenModel(board.season, image)

    def reveal_place(self, board: BoardModel, hidden: set[str]) -> None:
        """Show the truth of the next place from the last; the first place shows the whole."""
        frozen = board.frozen
        places = self.standings(board, frozen.season, hidden)[::-1][frozen.revealed :]
        if len(places) < 2:
            board.frozen = None
            return
        entry = places[0]
        frozen.image[entry["user_id"]] = entry["score"], entry["reached_at"]
        frozen.revealed += 1

    @staticmethod
    def _entries(
        board: BoardModel, found: dict[str, tuple[float, int]], hidden: set[str]
    ) -> list[dict]:
        sign = 1 if board.rules["order"] == "asc" else -1
        ordered = sorted(
            (sign * score, reached, user_id)
            for user_id, (score, reached) in found.items()
            if user_id not in hidden
        )
        entries: list[dict] = []
        for position, (key, reached, user_id) in enumerate(ordered, 1):
            score = sign * key
            is_tie = bool(entries) and entries[-1]["score"] == score
            entry = {"rank": entries[-1]["rank"] if is_tie else position, "position": position}
            entries.append({**entry, "user_id": user_id, "score": score, "reached_at": reached})
        return entries


def _scores(
    board: BoardModel, season: int, history: list[Accepted]
) -> dict[str, tuple[float, int]]:
    """Return each user's score and the time at which it was reached."""
    found: dict[str, tuple[float, int]] = {}
    newest: dict[str, str] = {}
    sums: dict[str, Decimal] = {}
    for each in history:
        if each.is_voided or each.seasons.get(board.board_id) != season:
            continue
        user_id, value = each.user_id, each.value
        before = found.get(user_id)
        if board.rules["policy"] == "total":
            sums[user_id] = sums.get(user_id, Decimal(0)) + Decimal(repr(value))
            score = float(sums[user_id])
        elif board.rules["policy"] == "latest":
            if each.timestamp < newest.get(user_id, ""):
                continue
            newest[user_id], score = each.timestamp, value
        else:
            better = min if board.rules["order"] == "asc" else max
            score = better(value, before[0]) if before else value
        if before is None or before[0] != score:
            found[user_id] = score, each.created_at
    return found
