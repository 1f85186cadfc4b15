"""Send board messages to subscribers: no other module does.

A process does this work only for the ledgers that a connection watches here. Each has a feed, and
its boards as their subscribers know them.
"""

import logging
import time
from collections.abc import Collection, Iterable, Mapping

from flask import Flask

from ..concurrency import runtime
from ..errors import InvalidInput, NotPermitted, UnknownBoard
from ..http.json import dumps
from ..leaderboard import top10
from ..leaderboard.top10 import BoardChange, LedgerChange
from ..models import MAIN
from ..observability.metrics import SOCKET_IO, WEBSOCKET, Metrics
from ..permissions import Caller
from ..services import services
from .connections import Connections, LiveConnection
from .feed import Feed
from .messages import Messages, NamedBoard, UnnamedMain, may_watch
from .schemas import MAX_BOARDS, handshake_schema
from .socketio import engine
from .websocket.connection import text_frame

log = logging.getLogger(__name__)

NOT_PUBLIC = "This board is not public: watch it with the token of a user."


class WatchedLedger:
    """A ledger that a connection watches in this process: its feed and its boards.

    `boards` are by id; None is `main` for the connections that name no board. `subscriptions` is
    the number of subscriptions to these boards.
    """

    def __init__(self, ledger_id: str, app: Flask, subscribers: "Subscribers") -> None:
        store = services(app).boards.store
        self.ledger_id = ledger_id
        self.feed = Feed(lambda current: top10.since(store, ledger_id, current), self._deliver)
        self.boards: dict[str | None, NamedBoard | UnnamedMain] = {}
        if ledger_id == MAIN:
            self.boards[None] = UnnamedMain()
        self.subscriptions = 0
        self._subscribers = subscribers

    def _deliver(self, change: LedgerChange) -> None:
        """Send the change to the subscribers of each board. Never blocks or raises."""
        for board_id, board_change in change.boards.items():
            for key in (board_id, None) if board_id == MAIN else (board_id,):
                try:
                    self._update(key, board_change)
                except Exception:
                    log.exception("a broadcast failed")
        self._subscribers.count_pushed(change.received)

    def _update(self, board_id: str | None, change: BoardChange) -> None:
        if board_id and board_id not in self.boards:
            self.boards[board_id] = NamedBoard(board_id)
        board = self.boards[board_id]
        self._subscribers.send(board.update(change), board.subscribers)
        if change.settings:
            self._subscribers.drop_excluded(board_id, board)
            if change.settings["state"] == "archived":
                del self.boards[board_id]


class Subscribers:
    """The connections that watch boards in this process, and the ledgers of these boards."""

    def __init__(self, app: Flask, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics
        self._lock = runtime.lock()  # of `ledgers` and the boards of each connection
        self.ledgers: dict[str, WatchedLedger] = {}
        self.sent_at: float | None = None  # by time.monotonic

    def subscribe(self, connection: LiveConnection, board_id: str | None) -> None:
        """Subscribe a connection to a board, to `main` without a name if `board_id` is None.

        It gets the current top 10 first. Does nothing if it watches the board already or has ended.
        May block on the database. Raises UnknownBoard, NotPermitted, and InvalidInput if it watches
        MAX_BOARDS boards.
        """
        ledger_id = services(self._app).boards.get(board_id).ledger_id if board_id else MAIN
        with self._lock:
            if connection.caller is None or board_id in connection.boards:
                return
            if len(connection.boards) >= MAX_BOARDS:
                problem = {"board": [f"A connection watches at most {MAX_BOARDS} boards."]}
                raise InvalidInput("Unsubscribe from another board first.", problem)
            if ledger_id not in self.ledgers:
                self.ledgers[ledger_id] = WatchedLedger(ledger_id, self._app, self)
            ledger = connection.boards[board_id] = self.ledgers[ledger_id]
            ledger.subscriptions += 1
        try:
            ledger.feed.subscribe(lambda: self._add(connection, board_id, ledger))
        except BaseException:
            self.unsubscribe(connection, board_id)
            raise

    def _add(self, connection: LiveConnection, board_id: str | None, ledger: WatchedLedger) -> None:
        """Send a connection the current top 10, and then the messages of the board."""
        if board_id not in ledger.boards:
            ledger.feed.catch_up()  # another process has just created the board
        board, caller = ledger.boards.get(board_id), connection.caller
        if board is None:
            raise UnknownBoard
        if caller and not board.may_be_watched_by(caller):
            raise NotPermitted(NOT_PUBLIC)
        with self._lock:
            if connection.boards.get(board_id) is not ledger:
                return  # it ended during the read
            board.subscribers[connection.kind].add(connection)
        _send([board.top10_update()], {connection.kind: [connection]})

    def unsubscribe(self, connection: LiveConnection, board_id: str | None) -> None:
        """Unsubscribe a connection from a board, if it watches that."""
        with self._lock:
            ledger = connection.boards.pop(board_id, None)
            if ledger is None:
                return
            if board := ledger.boards.get(board_id):
                board.subscribers[connection.kind].discard(connection)
            ledger.subscriptions -= 1
            if not ledger.subscriptions:
                del self.ledgers[ledger.ledger_id]

    def remove(self, connection: LiveConnection) -> None:
        """Unsubscribe a connection that has no caller any more from all its boards."""
        for board_id in list(connection.boards):
            self.unsubscribe(connection, board_id)

    def drop_excluded(self, board_id: str | None, board: NamedBoard | UnnamedMain) -> None:
        """Unsubscribe the connections that may not watch the board any more."""
        for connections in board.subscribers.values():
            for connection in list(connections):
                if connection.caller and not board.may_be_watched_by(connection.caller):
                    self.unsubscribe(connection, board_id)

    def send(
        self, messages: Messages, subscribers: Mapping[str, Collection[LiveConnection]]
    ) -> None:
        """Send the messages to these connections by protocol, and count the deliveries."""
        if not messages or not any(subscribers.values()):
            return
        _send(messages, subscribers)
        self.sent_at = time.monotonic()
        for protocol, connections in subscribers.items():
            self._metrics.deliveries.labels(protocol).inc(len(messages) * len(connections))

    def count_pushed(self, received: Iterable[float]) -> None:
        """Observe the time from the arrival of each update until now."""
        self._metrics.count_pushed(received)


def named_boards(value: object, caller: Caller) -> list[str] | None:
    """Return the boards that a handshake names, None if it names none.

    May block for a read. Raises ValidationError, UnknownBoard, and NotPermitted if the caller may
    not watch one of them.
    """
    named: list[str] | None = handshake_schema.load({"boards": value})["boards"]
    for board_id in named or ():
        if not may_watch(services().boards.get(board_id).public, caller):
            raise NotPermitted(NOT_PUBLIC)
    return named


def _send(messages: Messages, subscribers: Mapping[str, Collection[LiveConnection]]) -> None:
    """Send the messages, framed once for all subscribers of a protocol."""
    texts = [dumps(message).decode() for message in messages]
    if sessions := subscribers.get(SOCKET_IO):
        packets = [
            engine.message(f'2["{message["type"]}",{text}]')
            for message, text in zip(messages, texts, strict=True)
        ]
        frames = engine.frames(packets)
        for session in list(sessions):
            session.push(frames, packets)
    if websockets := subscribers.get(WEBSOCKET):
        frames = b"".join(map(text_frame, texts))
        for websocket in list(websockets):
            websocket.push(frames)


def init_app(app: Flask) -> None:
    """Create the application's subscribers and connections."""
    parts = services(app)
    parts.subscribers = Subscribers(app, parts.metrics)
    parts.connections = Connections(app.config["CONNECTIONS_PER_ADDRESS"], parts.metrics)
    parts.session_revoked = lambda token_id, issued_until, kept=None: (
        parts.connections.end_sessions({token_id: (issued_until.timestamp(), kept)})
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


def subscribe(app: Flask, connection: LiveConnection, board_ids: Iterable[str] | None) -> None:
    """Subscribe a connection to boards, to `main` without a name if `board_ids` is None.

    It gets the current top 10 of each first. May block. Raises what `Subscribers.subscribe` raises.
    """
    with app.app_context():
        for board_id in [None] if board_ids is None else board_ids:
            services(app).subscribers.subscribe(connection, board_id)
