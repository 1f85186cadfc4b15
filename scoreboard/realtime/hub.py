"""Send board messages to subscribers: no other module does.

A process does this work only for the ledgers that somebody watches here: each has a feed, the
current state of its boards as sent, and their subscribers.
"""

import logging
import time
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from flask import Flask

from ..boards.board import BoardState
from ..boards.schemas import board_reference_schema
from ..errors import InvalidInput, NotPermitted, UnknownBoard
from ..http.json import dumps
from ..leaderboard import top10
from ..leaderboard.top10 import BoardChange, LedgerChange
from ..models import MAIN
from ..observability.metrics import SOCKET_IO, WEBSOCKET, Metrics
from ..permissions import Caller
from ..services import services
from .connections import Connections
from .feed import Feed
from .socketio import engine
from .websocket.connection import text_frame

log = logging.getLogger(__name__)

# Boards that one connection may watch at the same time.
MAX_BOARDS = 20
Messages = list[dict[str, Any]]


class Audience:
    """The subscribers of a board, by protocol, that get its messages in the same form."""

    def __init__(self) -> None:
        self.by_protocol: dict[str, set[Any]] = {SOCKET_IO: set(), WEBSOCKET: set()}


class WatchedBoard:
    """A board as its subscribers know it, and these subscribers.

    `named` subscribers named the board: their messages contain it, and the names of users.
    `unnamed` ones named no board and get the messages of `main`.
    """

    def __init__(self, board_id: str) -> None:
        self._board_id = board_id
        self._season = 0
        self._top10: list[top10.Entry] = []
        self._settings: dict[str, Any] | None = None
        self.named, self.unnamed = Audience(), Audience()

    def update(self, change: BoardChange) -> tuple[Messages, Messages]:
        """Update what subscribers know; return the messages for named and for unnamed ones."""
        named: Messages = []
        unnamed: Messages = [
            {"type": "score_update", "data": score.unnamed()} for score in change.scores
        ]
        is_new_season = self._season not in (0, change.season)
        for score in change.scores:
            if is_new_season and score.season == change.season:
                named += self._open_season(change)
                is_new_season = False
            named.append(self._message("score_update", score.season, score.named()))
        if is_new_season:
            named += self._open_season(change)
        elif change.settings not in (None, self._settings) and self._settings:
            named.append(self._board_update(change))
        self._settings = change.settings or self._settings
        before, self._season = self._top10, change.season
        if change.top10 != before:
            self._top10 = change.top10
            named.append(self.top10_update())
            if top10.unnamed(before) != top10.unnamed(change.top10):
                unnamed.append(self.unnamed_top10_update())
        return named, unnamed

    def top10_update(self) -> dict[str, Any]:
        """Return the `top_10_update` message for subscribers that named this board."""
        return self._message("top_10_update", self._season, {"top_10_scores": self._top10})

    def unnamed_top10_update(self) -> dict[str, Any]:
        """Return the `top_10_update` message for subscribers that named no board."""
        return {"type": "top_10_update", "data": top10.unnamed(self._top10)}

    def archive(self) -> Messages:
        """Return the last message of a board that was archived."""
        settings = {**(self._settings or {}), "state": "archived", "players": len(self._top10)}
        return [self._message("board_update", self._season, settings)]

    def _open_season(self, change: BoardChange) -> Messages:
        self._settings, self._season, self._top10 = change.settings, change.season, []
        return [self._board_update(change), self.top10_update()]

    def _board_update(self, change: BoardChange) -> dict[str, Any]:
        data = {**(change.settings or {}), "players": change.players or 0}
        return self._message("board_update", change.season, data)

    def _message(self, kind: str, season: int, data: dict[str, Any]) -> dict[str, Any]:
        return {"type": kind, "board": self._board_id, "season": season, "data": data}


class WatchedLedger:
    """A ledger that somebody watches in this process: its feed and its boards."""

    def __init__(self, ledger_id: str, app: Flask, sent: "Subscribers") -> None:
        directory = services(app).boards
        self.feed = Feed(
            lambda current: top10.since(directory.store, ledger_id, current), self._deliver
        )
        self.boards: dict[str, WatchedBoard] = {}
        self.subscriptions = 0
        self._sent = sent

    def board(self, board_id: str) -> WatchedBoard:
        """Return a board of this ledger. Raises UnknownBoard before the first delivery of it."""
        if board_id not in self.boards:
            raise UnknownBoard
        return self.boards[board_id]

    def _deliver(self, change: LedgerChange) -> None:
        """Send the change to the subscribers of each board. Never blocks or raises."""
        try:
            for board_id, board_change in change.boards.items():
                board = self.boards.setdefault(board_id, WatchedBoard(board_id))
                named, unnamed = board.update(board_change)
                self._sent.send(named, board.named.by_protocol)
                if board_id == MAIN:
                    self._sent.send(unnamed, board.unnamed.by_protocol)
                if board_change.settings and not board_change.settings["public"]:
                    self._sent.drop_viewers(board)
            for board_id in self.boards.keys() - change.boards.keys():
                board = self.boards.pop(board_id)
                self._sent.send(board.archive(), board.named.by_protocol)
            self._sent.count_pushed(change.received)
        except Exception:
            log.exception("a broadcast failed")


class Subscribers:
    """The subscribers of this process, and the ledgers that they watch."""

    def __init__(self, app: Flask, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics
        self.ledgers: dict[str, WatchedLedger] = {}
        # The boards of each subscriber by id, with their ledger; None is `main` without a name.
        self._boards: dict[Any, dict[str | None, str]] = {}
        self._users: dict[Any, bool] = {}  # whether the subscriber has the token of a user
        self.sent_at: float | None = None  # by time.monotonic

    def subscribe(
        self, protocol: str, subscriber: Any, caller: Caller, board: BoardState | None
    ) -> None:
        """Add a subscriber to a board, and send it the current top 10 first. May block.

        Without a board, it gets the messages of `main` without names. Raises NotPermitted and
        UnknownBoard.
        """
        if board:
            require_may_watch(board, caller)
        ledger_id, board_id = (board.ledger_id, board.board_id) if board else (MAIN, None)
        boards = self._boards.setdefault(subscriber, {})
        if board_id in boards:
            return
        boards[board_id] = ledger_id
        self._users[subscriber] = caller.user_id is not None
        if ledger_id not in self.ledgers:
            self.ledgers[ledger_id] = WatchedLedger(ledger_id, self._app, self)
        ledger = self.ledgers[ledger_id]
        ledger.subscriptions += 1

        def add() -> None:
            if self._boards.get(subscriber, {}).get(board_id) != ledger_id:
                return  # it ended during the read
            if (board_id or MAIN) not in ledger.boards:
                ledger.feed.catch_up()  # another process has just created the board
            watched = ledger.board(board_id or MAIN)
            audience = watched.named if board_id else watched.unnamed
            message = watched.top10_update() if board_id else watched.unnamed_top10_update()
            _send([message], {protocol: [subscriber]})
            audience.by_protocol[protocol].add(subscriber)

        try:
            ledger.feed.subscribe(add)
        except BaseException:
            self.unsubscribe(subscriber, board_id)
            raise

    def unsubscribe(self, subscriber: Any, board_id: str | None) -> bool:
        """Remove a subscriber from a board. Return whether it watched the board."""
        boards = self._boards.get(subscriber, {})
        if board_id not in boards:
            return False
        ledger_id = boards.pop(board_id)
        if not boards:
            del self._boards[subscriber], self._users[subscriber]
        ledger = self.ledgers[ledger_id]
        for board in filter(None, [ledger.boards.get(board_id or MAIN)]):
            audience = board.named if board_id else board.unnamed
            for subscribers in audience.by_protocol.values():
                subscribers.discard(subscriber)
        ledger.subscriptions -= 1
        if not ledger.subscriptions and ledger_id != MAIN:
            del self.ledgers[ledger_id]
        return True

    def remove(self, subscriber: Any) -> None:
        """Remove a subscriber from all its boards."""
        for board_id in list(self._boards.get(subscriber, {})):
            self.unsubscribe(subscriber, board_id)

    def watched(self, subscriber: Any) -> int:
        """Return how many boards the subscriber watches."""
        return len(self._boards.get(subscriber, {}))

    def drop_viewers(self, board: WatchedBoard) -> None:
        """Remove the subscribers without a user from a board that is not public any more."""
        for subscribers in board.named.by_protocol.values():
            subscribers -= {each for each in subscribers if not self._users[each]}

    def send(self, messages: Messages, by_protocol: Mapping[str, Collection[Any]]) -> None:
        """Send the messages to these subscribers, and count the deliveries."""
        if not messages:
            return
        _send(messages, by_protocol)
        self.sent_at = time.monotonic()
        for protocol, subscribers in by_protocol.items():
            self._metrics.deliveries.labels(protocol).inc(len(messages) * len(subscribers))

    def count_pushed(self, received: Iterable[float]) -> None:
        """Observe the time from the arrival of each update until now."""
        self._metrics.count_pushed(received)


def named_boards(value: object, caller: Caller) -> list[str] | None:
    """Return the boards that a handshake names, None if it names none.

    Raises InvalidInput, UnknownBoard, and NotPermitted if the caller may not watch one of them.
    """
    if value is None:
        return None
    if not isinstance(value, list) or len(value) > MAX_BOARDS:
        problem = {"boards": [f"Must be a list of at most {MAX_BOARDS} boards."]}
        raise InvalidInput("The list of boards is wrong.", problem)
    named = [board_reference_schema.load({"board": each})["board"] for each in value]
    for board_id in named:
        require_may_watch(services().boards.get(board_id), caller)
    return named


def require_may_watch(board: BoardState, caller: Caller) -> None:
    """Raise NotPermitted unless the caller may watch the board."""
    if not caller.may("board:watch") or not (board.public or caller.user_id):
        raise NotPermitted("This board is not public: watch it with the token of a user.")


def _send(messages: list[dict[str, Any]], by_protocol: Mapping[str, Collection[Any]]) -> None:
    """Send the messages, framed once for all subscribers of a protocol."""
    texts = [dumps(message).decode() for message in messages]
    if sessions := by_protocol.get(SOCKET_IO):
        packets = [
            engine.message(f'2["{message["type"]}",{text}]')
            for message, text in zip(messages, texts, strict=True)
        ]
        frames = engine.frames(packets)
        for session in list(sessions):
            session.push(frames, packets)
    if websockets := by_protocol.get(WEBSOCKET):
        frames = b"".join(map(text_frame, texts))
        for websocket in list(websockets):
            websocket.push(frames)


def init_app(app: Flask) -> None:
    """Create the application's subscribers and connections."""
    parts = services(app)
    parts.subscribers = Subscribers(app, parts.metrics)
    parts.connections = Connections(app.config["CONNECTIONS_PER_ADDRESS"], parts.metrics)
    parts.session_revoked = lambda token_id, issued_until: parts.connections.end_sessions(
        {token_id: issued_until.timestamp()}
    )


def publish(change: LedgerChange) -> None:
    """Cache the top 10 of a committed change, send it to subscribers, then to other processes.

    Blocks while the feed reads the database.
    """
    if change.ledger_id == MAIN:
        services().top10_cache.offer(change)
    receive(services().subscribers, change)
    services().socketio.server.manager.share(change)


def receive(subscribers: Subscribers, change: LedgerChange) -> None:
    """Offer a change, of this or another process, to the feed of its ledger if that is watched."""
    ledger = subscribers.ledgers.get(change.ledger_id)
    if ledger:
        ledger.feed.offer(change)


def subscribe(
    app: Flask, protocol: str, subscriber: Any, caller: Caller, board_ids: Iterable[str] | None
) -> None:
    """Subscribe an EngineSession or a WebSocket to boards, to `main` without a name if None.

    It gets the current top 10 of each first. May block. Raises UnknownBoard and NotPermitted.
    """
    with app.app_context():
        parts = services(app)
        boards = [None] if board_ids is None else [parts.boards.get(each) for each in board_ids]
        for board in boards:
            parts.subscribers.subscribe(protocol, subscriber, caller, board)
