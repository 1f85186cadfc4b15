"""A board at one moment: its settings, its state and its season, and how time changes them."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from ..http.fields import moment, number
from .seasons import Reset, next_boundary

MAX_DERIVED = 8


@dataclass(frozen=True)
class BoardState:
    """A board's settings, state and current season, at one settings version of its ledger.

    `tickets` is the least age of a run ticket in seconds, None if the board needs no tickets.
    `state` is "open", "closed" or "archived". `season_ends_at` is None if the season ends only by
    hand. `next_change_at` is the first time at which the season or the state changes, or None.
    """

    board_id: str
    title: str
    source: str | None
    policy: str
    order: str
    format: str
    min_score: float | None
    max_score: float | None
    submit: str
    public: bool
    tickets: int | None
    opens_at: datetime | None
    closes_at: datetime | None
    reset: Reset | None
    state: str
    season: int
    season_starts_at: datetime
    season_ends_at: datetime | None
    next_change_at: datetime | None

    @property
    def ledger_id(self) -> str:
        """The board that takes the updates which count here."""
        return self.source or self.board_id

    @property
    def sign(self) -> int:
        """The factor from a score to its rank key: -1 where lower is better."""
        return -1 if self.order == "asc" else 1

    def has_in_range(self, value: float) -> bool:
        """Whether the value is within the bounds of this board."""
        above = self.min_score is None or value >= self.min_score
        return above and (self.max_score is None or value <= self.max_score)

    def body(self) -> dict[str, Any]:
        """Return the board object of the contract, without `players`."""
        reset = self.reset
        return {
            "board_id": self.board_id,
            "title": self.title,
            "source": self.source,
            "policy": self.policy,
            "order": self.order,
            "format": self.format,
            "min_score": None if self.min_score is None else number(self.min_score),
            "max_score": None if self.max_score is None else number(self.max_score),
            "submit": self.submit,
            "public": self.public,
            "tickets": None if self.tickets is None else {"min_seconds": self.tickets},
            "opens_at": self.opens_at and moment(self.opens_at),
            "closes_at": self.closes_at and moment(self.closes_at),
            "reset": reset and reset_body(reset),
            "state": self.state,
            "season": season_body(self.season, self.season_starts_at, self.season_ends_at),
        }


def reset_body(reset: Reset) -> dict[str, Any]:
    """Return the `reset` of a board object; a daily one has no `on`."""
    body = {"every": reset.every, "on": reset.on, "at": reset.at, "time_zone": reset.time_zone}
    return {name: value for name, value in body.items() if value is not None}


def season_body(season: int, starts_at: datetime, ends_at: datetime | None) -> dict[str, Any]:
    """Return the `season` of a board object."""
    return {
        "number": season,
        "starts_at": moment(starts_at),
        "ends_at": ends_at and moment(ends_at),
    }


def season_end(reset: Reset | None, after: datetime) -> datetime | None:
    """Return when a season that starts or is current at `after` ends, or None."""
    return None if reset is None else next_boundary(reset, after)


def at_time(board: BoardState, now: datetime) -> BoardState:
    """Return the board at `now`: in the season and the state of that time."""
    while board.season_ends_at is not None and board.season_ends_at <= now:
        board = next_season(board, board.season_ends_at)
    is_opened = board.opens_at is None or board.opens_at <= now
    is_open = is_opened and (board.closes_at is None or now < board.closes_at)
    changes = (board.season_ends_at, board.opens_at, board.closes_at)
    next_change_at = min((each for each in changes if each and each > now), default=None)
    return replace(board, state="open" if is_open else "closed", next_change_at=next_change_at)


def next_season(board: BoardState, starts_at: datetime) -> BoardState:
    """Return the board in its next season, which starts at this time; call `at_time` then."""
    return replace(
        board,
        season=board.season + 1,
        season_starts_at=starts_at,
        season_ends_at=season_end(board.reset, starts_at),
    )
