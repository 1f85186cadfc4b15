"""A board at one moment: its settings, its state and its season, and how time changes them."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from ..http.fields import moment, number
from .seasons import Reset, next_boundary

MAX_DERIVED = 8


@dataclass(frozen=True)
class Frozen:
    """What a frozen board shows: its season as it was `at` the time of the freeze.

    `revealed` is the number of places, from the last, that have shown the true scores since.
    """

    season: int
    starts_at: datetime
    ends_at: datetime | None
    at: datetime
    revealed: int = 0

    def columns(self) -> dict[str, Any]:
        """Return the fields as JSON values, for the database."""
        return {
            "season": self.season,
            "starts_at": moment(self.starts_at),
            "ends_at": self.ends_at and moment(self.ends_at),
            "at": moment(self.at),
            "revealed": self.revealed,
        }

    @classmethod
    def from_columns(cls, values: dict[str, Any]) -> "Frozen":
        """Return what `columns` has stored."""
        times = {
            name: values[name] and datetime.fromisoformat(values[name])
            for name in ("starts_at", "ends_at", "at")
        }
        return cls(**{**values, **times})


@dataclass(frozen=True)
class BoardState:
    """A board's settings, state and current season, at one settings version of its ledger.

    `tickets` is the least age of a run ticket in seconds, None if the board needs no tickets.
    `state` is "open", "closed" or "archived". `season_ends_at` is None if the season ends only by
    hand. `next_change_at` is the first time at which the season, the state or `frozen` changes, or
    None. `shown` is the stamp of the users whom the public sees; see `models.BoardVersion`.
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
    freezes_at: datetime | None
    reset: Reset | None
    state: str
    season: int
    season_starts_at: datetime
    season_ends_at: datetime | None
    next_change_at: datetime | None
    frozen: Frozen | None = None
    shown: str = ""

    @property
    def shown_season(self) -> int:
        """The number of the season that the public sees."""
        return self.frozen.season if self.frozen else self.season

    @property
    def shown_standings(self) -> int:
        """The season under which the standings are stored that the public sees."""
        return -self.frozen.season if self.frozen else self.season

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

    def live(self) -> "BoardState":
        """Return the board with the true season, for callers who may see it while it is frozen."""
        if not self.frozen:
            return self
        state = self.state if self.state == "archived" else "frozen"
        return replace(self, frozen=None, state=state)

    def body(self) -> dict[str, Any]:
        """Return the board object of the contract, without `players`."""
        reset, frozen = self.reset, self.frozen
        season = season_body(self.season, self.season_starts_at, self.season_ends_at)
        if frozen:
            season = season_body(frozen.season, frozen.starts_at, frozen.ends_at)
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
            "freezes_at": self.freezes_at and moment(self.freezes_at),
            "frozen_at": frozen and moment(frozen.at),
            "reset": reset and reset_body(reset),
            "state": "frozen" if frozen and self.state != "archived" else self.state,
            "season": season,
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
    """Return the board at `now`: in the season and the state of that time, frozen if that is due.

    A board that freezes when its season ends shows the season that has ended.
    """
    if board.freezes_at is not None and board.freezes_at <= now:
        while board.season_ends_at is not None and board.season_ends_at < board.freezes_at:
            board = next_season(board, board.season_ends_at)
        board = frozen_at(board, now)
    while board.season_ends_at is not None and board.season_ends_at <= now:
        board = next_season(board, board.season_ends_at)
    is_opened = board.opens_at is None or board.opens_at <= now
    is_open = is_opened and (board.closes_at is None or now < board.closes_at)
    freezes_at = None if board.frozen else board.freezes_at
    changes = (board.season_ends_at, board.opens_at, board.closes_at, freezes_at)
    next_change_at = min((each for each in changes if each and each > now), default=None)
    return replace(board, state="open" if is_open else "closed", next_change_at=next_change_at)


def frozen_at(board: BoardState, now: datetime) -> BoardState:
    """Return the board frozen in its current season, unless it is frozen already."""
    if board.frozen:
        return board
    season = board.season, board.season_starts_at, board.season_ends_at
    return replace(board, frozen=Frozen(*season, at=now))


def unfrozen(board: BoardState, now: datetime) -> BoardState:
    """Return the board unfrozen; a `freezes_at` that has passed does not freeze it again."""
    is_past = board.freezes_at is not None and board.freezes_at <= now
    return replace(board, frozen=None, freezes_at=None if is_past else board.freezes_at)


def next_season(board: BoardState, starts_at: datetime) -> BoardState:
    """Return the board in its next season, which starts at this time; call `at_time` then."""
    return replace(
        board,
        season=board.season + 1,
        season_starts_at=starts_at,
        season_ends_at=season_end(board.reset, starts_at),
    )
