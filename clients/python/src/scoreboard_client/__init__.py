"""A client for the scoreboard: submit scores that count exactly once, and watch boards live."""

from .asynchronous import AsyncScoreboard
from .errors import (
    Conflict,
    Invalid,
    NotFound,
    RateLimited,
    ScoreboardError,
    Unauthorized,
    Unavailable,
)
from .models import (
    BoardUpdate,
    Entry,
    Message,
    RankedEntry,
    Receipt,
    ScoreUpdate,
    Standing,
    Top10Update,
    Update,
)
from .synchronous import Scoreboard

__all__ = [
    "AsyncScoreboard",
    "BoardUpdate",
    "Conflict",
    "Entry",
    "Invalid",
    "Message",
    "NotFound",
    "RankedEntry",
    "RateLimited",
    "Receipt",
    "ScoreUpdate",
    "Scoreboard",
    "ScoreboardError",
    "Standing",
    "Top10Update",
    "Unauthorized",
    "Unavailable",
    "Update",
]
