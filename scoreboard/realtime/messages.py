"""The messages that a change of a board sends, and the subscribers that get them."""

from typing import Any

from ..leaderboard import top10
from ..leaderboard.top10 import BoardChange
from ..observability.metrics import SOCKET_IO, WEBSOCKET
from ..permissions import Caller
from .connections import LiveConnection

Messages = list[dict[str, Any]]


def may_watch(is_public: bool, caller: Caller) -> bool:
    """Whether the caller may watch a board that is public, or is not."""
    return caller.may("board:watch") and (is_public or caller.user_id is not None)


class UnnamedMain:
    """`main` as connections know it that name no board: the same as if there were no others.

    `subscribers` are these connections, by protocol.
    """

    def __init__(self) -> None:
        self.subscribers: dict[str, set[LiveConnection]] = {SOCKET_IO: set(), WEBSOCKET: set()}
        self._top10 = top10.unnamed([])

    def update(self, change: BoardChange) -> Messages:
        """Update what the subscribers know; return the messages for them."""
        messages: Messages = [
            {"type": "score_update", "data": score.unnamed()} for score in change.scores
        ]
        current = top10.unnamed(change.top10)
        if current != self._top10:
            self._top10 = current
            messages.append(self.top10_update())
        return messages

    def top10_update(self) -> dict[str, Any]:
        """Return the `top_10_update` message of the current top 10."""
        return {"type": "top_10_update", "data": self._top10}

    def may_be_watched_by(self, caller: Caller) -> bool:
        """Return True: the settings of the application decide who gets a token."""
        return True


class NamedBoard:
    """A board as connections know it that name it: with its season, and the names of users."""

    def __init__(self, board_id: str) -> None:
        self.subscribers: dict[str, set[LiveConnection]] = {SOCKET_IO: set(), WEBSOCKET: set()}
        self._board_id = board_id
        # All are set by the first update, before there is a subscriber.
        self._season = 0
        self._settings: dict[str, Any] = {}
        self._shown = ""
        self._top10: list[top10.Entry] = []

    def update(self, change: BoardChange) -> Messages:
        """Update what the subscribers know; return the messages for them.

        A new season is a `board_update` and its empty list, after the scores of the season before.
        """
        messages: Messages = []
        for score in change.scores:
            if score.season == change.season:
                messages += self._open_season(change)
            messages.append(self._message("score_update", score.season, score.named()))
        messages += self._open_season(change)
        known = self._settings, self._shown
        if change.settings and (change.settings, change.shown) != known:
            messages.append(self._board_update(change))
        if change.top10 != self._top10:
            self._top10 = change.top10
            messages.append(self.top10_update())
        return messages

    def top10_update(self) -> dict[str, Any]:
        """Return the `top_10_update` message of the current top 10."""
        return self._message("top_10_update", self._season, {"top_10_scores": self._top10})

    def may_be_watched_by(self, caller: Caller) -> bool:
        """Whether the caller may watch the board."""
        is_archived = self._settings["state"] == "archived"
        return not is_archived and may_watch(self._settings["public"], caller)

    def _open_season(self, change: BoardChange) -> Messages:
        """Return the messages that open the season of the change, unless it is open."""
        if self._season == change.season:
            return []
        self._season, self._top10 = change.season, []
        return [self._board_update(change), self.top10_update()]

    def _board_update(self, change: BoardChange) -> dict[str, Any]:
        self._settings, self._shown = change.settings or self._settings, change.shown
        data = {**self._settings, "players": change.players}
        return self._message("board_update", change.season, data)

    def _message(self, kind: str, season: int, data: dict[str, Any]) -> dict[str, Any]:
        return {"type": kind, "board": self._board_id, "season": season, "data": data}
