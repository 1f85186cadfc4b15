"""The values that the client takes and returns. Fields that a newer server adds are ignored."""

import dataclasses
import json
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

T = TypeVar("T")


class _Clock:
    """Returns times that only increase: under `latest`, the newest timestamp sets the score."""

    def __init__(self) -> None:
        self._last = datetime.min.replace(tzinfo=UTC)
        self._lock = threading.Lock()

    def now(self) -> datetime:
        with self._lock:
            self._last = max(datetime.now(UTC), self._last + timedelta(microseconds=1))
            return self._last


_clock = _Clock()


@dataclass(frozen=True)
class Update:
    """A score to submit. It counts once, however often it is sent.

    `user_id` is None for the signed-in user. `timestamp` is when the score was reached; one without
    a time zone is local time. `nonce` identifies the update: 8 to 64 characters of
    `A-Z a-z 0-9 _ -`. With `season`, the update is refused once that season has ended. `ticket` is
    the run ticket, for boards that need one.
    """

    score: float
    board: str = "main"
    user_id: str | None = None
    season: int | None = None
    ticket: str | None = None
    timestamp: datetime = field(default_factory=_clock.now)
    nonce: str = field(default_factory=lambda: uuid.uuid4().hex)

    def body(self, own_id: str | None) -> dict[str, Any]:
        """Return the body of the request; `own_id` is the id of the signed-in user."""
        body = {
            "user_id": self.user_id or own_id,
            "score_value": self.score,
            "timestamp": self.timestamp.astimezone(UTC).isoformat(),
            "nonce": self.nonce,
            "board": self.board,
            "season": self.season,
            "ticket": self.ticket,
        }
        return {name: value for name, value in body.items() if value is not None}


@dataclass(frozen=True)
class Receipt:
    """Confirms that an update is recorded.

    `score` is the user's score after the update, `applied` whether this update set it. `season` is
    the season of the board in which it counts.
    """

    user_id: str
    score: float
    score_id: str
    created_at: datetime
    applied: bool
    board: str
    season: int


@dataclass(frozen=True)
class Entry:
    """A line of a top 10. Users with equal scores share a rank."""

    rank: int
    user_id: str
    username: str
    score: float


@dataclass(frozen=True)
class RankedEntry(Entry):
    """A line of a leaderboard. `position` is unique; `reached_at` orders equal scores."""

    position: int
    reached_at: datetime


@dataclass(frozen=True)
class Standing:
    """A user's entry, the entries around it including its own, and the number of all entries."""

    entry: RankedEntry
    neighbours: list[RankedEntry]
    total: int


@dataclass(frozen=True)
class Page:
    """Some entries of a leaderboard; `next` is the cursor of the next page, None at the end."""

    entries: list[RankedEntry]
    next: str | None


@dataclass(frozen=True)
class ScoreUpdate:
    """An accepted update: the score of the user after it."""

    board: str
    season: int
    user_id: str
    username: str
    new_score: float


@dataclass(frozen=True)
class Top10Update:
    """The top 10: the current one after each connection, then each changed one."""

    board: str
    season: int
    entries: list[Entry]


@dataclass(frozen=True)
class BoardUpdate:
    """A change of a board's state, season or settings: the object of `GET /api/boards/{board}`."""

    board: str
    season: int
    settings: Mapping[str, Any]


Message = ScoreUpdate | Top10Update | BoardUpdate


def parse(kind: type[T], body: Mapping[str, Any], **more: Any) -> T:
    """Return an object of this dataclass with its fields from a JSON object."""
    values = dict(more)
    for each in dataclasses.fields(kind):  # type: ignore[arg-type]
        if each.name in body:
            value = body[each.name]
            values[each.name] = datetime.fromisoformat(value) if each.type is datetime else value
    return kind(**values)


def parse_entries(kind: type[T], entries: list[dict[str, Any]]) -> list[T]:
    """Return the entries of a JSON list."""
    return [parse(kind, entry) for entry in entries]


def parse_message(text: str | bytes) -> Message | None:
    """Return a message of a WebSocket, or None for a type that this version does not know."""
    message = json.loads(text)
    origin = {"board": message.get("board"), "season": message.get("season")}
    match message["type"]:
        case "score_update":
            return parse(ScoreUpdate, message["data"], **origin)
        case "top_10_update":
            entries = parse_entries(Entry, message["data"]["top_10_scores"])
            return Top10Update(entries=entries, **origin)
        case "board_update":
            return BoardUpdate(settings=message["data"], **origin)
        case _:
            return None
