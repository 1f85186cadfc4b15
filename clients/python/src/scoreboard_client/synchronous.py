"""The sync client."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self, TypeVar

import httpx
from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

from .core import (
    REQUEST_TIMEOUT,
    Authorize,
    CallSource,
    Core,
    Flow,
    Request,
    Step,
    TokenSource,
    Wait,
    origin,
)
from .errors import ScoreboardError, read_response, unreachable
from .models import Message, RankedEntry, Receipt, Standing, Update
from .watching import Watch

T = TypeVar("T")


class Scoreboard:
    """A client of the scoreboard at a URL. Threads may share it. All calls block.

    `token` is an access token, or a function that returns one: it is called with None, and again
    with its last token when that is about to expire or was refused. Without a token and before
    `join` or `login`, the client reads and watches public boards.

    To continue an earlier sign-in, pass its `refresh_token`. Each one is good for one use:
    `on_refresh` is called with every new one, so that the program can store it; it must not call
    the client.

    A call whose request fails for a temporary reason is repeated for `timeout` seconds. All calls
    raise a ScoreboardError.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | TokenSource | None = None,
        refresh_token: str | None = None,
        on_refresh: Callable[[str], object] = lambda refresh_token: None,
        timeout: float = 30,
    ) -> None:
        self._url = origin(url)
        self._core = Core(token, refresh_token, on_refresh, timeout)
        self._http = httpx.Client(base_url=f"{self._url}/api/", timeout=REQUEST_TIMEOUT)
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._watched: set[ClientConnection] = set()

    @property
    def user_id(self) -> str | None:
        """The id of the signed-in user, None before the first token. Does not block."""
        return self._core.user_id

    def join(self, username: str, join_code: str | None = None) -> str:
        """Join as a guest, with a name only; return the user id."""
        return self._run(self._core.join(username, join_code))

    def login(self, username: str, password: str) -> str:
        """Sign in with name and password; return the user id."""
        return self._run(self._core.login(username, password))

    def logout(self) -> None:
        """End the sign-in: the server revokes its tokens and closes its connections."""
        self._run(self._core.logout())

    def submit(
        self,
        score: float,
        board: str = "main",
        *,
        user_id: str | None = None,
        season: int | None = None,
        ticket: str | None = None,
    ) -> Receipt:
        """Submit a score; return its receipt. It counts once, however often it is sent.

        The arguments are the fields of `Update`. After `Unavailable` the score may or may not have
        been recorded: `submit_update(error.update)` continues with the same update.
        """
        return self.submit_update(Update(score, board, user_id, season, ticket))

    def submit_update(self, update: Update) -> Receipt:
        """Submit an update, which may have been sent before; return its receipt."""
        return self._run(self._core.submit(update))

    def submit_batch(self, updates: Iterable[Update]) -> list[Receipt | ScoreboardError]:
        """Submit any number of updates; return the receipt or the error of each, in order.

        Needs a scorer's token. Raises a ScoreboardError if a request as a whole fails: then submit
        the same updates again. Each of them counts once.
        """
        return self._run(self._core.submit_batch(list(updates)))

    def ticket(self, board: str = "main") -> str:
        """Return a run ticket of the signed-in user, to pass to `submit` at the end of the run."""
        return self._run(self._core.ticket(board))

    def top10(self, board: str = "main", *, season: int | None = None) -> list[RankedEntry]:
        """Return the top 10 of a board, of the current season or an earlier one."""
        return self._run(self._core.top10(board, season))

    def leaderboard(
        self, board: str = "main", *, season: int | None = None
    ) -> Iterator[RankedEntry]:
        """Iterate over all entries of a board. Requests a page of 100 at a time."""
        cursor = None
        while True:
            page = self._run(self._core.page(board, season, cursor))
            yield from page.entries
            cursor = page.next
            if cursor is None:
                return

    def rank(
        self,
        user_id: str | None = None,
        board: str = "main",
        *,
        season: int | None = None,
        around: int = 5,
    ) -> Standing:
        """Return the entry of a user, by default the signed-in one, and those around it."""
        return self._run(self._core.rank(user_id, board, season, around))

    def watch(self, board: str | Iterable[str] = "main") -> Iterator[Message]:
        """Iterate over the messages of a board, or of up to 20; the current top 10 comes first.

        Connects again after any failure, and then continues with the current top 10. Raises a
        ScoreboardError if a retry cannot help: the token is refused, and the next too.
        Ends only with `close`.
        """
        watch = Watch(self._core, self._url, board)
        delay = 0.0
        while not self._closed.wait(delay):
            try:
                token = self._run(watch.token())
                headers = {"Authorization": f"Bearer {token}"}
                with connect(watch.url, additional_headers=headers) as connection:
                    yield from self._messages(watch, connection)
            except (ScoreboardError, WebSocketException, OSError) as error:
                delay = 0 if self._closed.is_set() else watch.delay(error)

    def close(self) -> None:
        """Close all connections. Ends each `watch`, also one in another thread."""
        self._closed.set()
        for connection in self._watched.copy():
            connection.close()
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _messages(self, watch: Watch, connection: ClientConnection) -> Iterator[Message]:
        """Iterate over the messages of one connection. Raises ConnectionClosed at its end."""
        self._watched.add(connection)
        try:
            while not self._closed.is_set():
                message = watch.read(connection.recv())
                if message is not None:
                    yield message
        finally:
            self._watched.discard(connection)

    def _run(self, flow: Flow[T]) -> T:
        result: Any = None
        while True:
            try:
                step = flow.send(result)
            except StopIteration as end:
                return end.value
            try:
                result = self._perform(step)
            except ScoreboardError as error:
                result = error

    def _perform(self, step: Step) -> Any:
        match step:
            case Request():
                return self._send(step)
            case Wait():
                return time.sleep(step.seconds)
            case Authorize():
                with self._lock:
                    return self._run(self._core.token(step.refused))
            case CallSource():
                return step.source(step.stale)

    def _send(self, request: Request) -> Any:
        if self._closed.is_set():
            return ScoreboardError("The client is closed.", "closed")
        try:
            response = self._http.request(
                request.method,
                request.path,
                json=request.body,
                params=request.query,
                headers=request.headers,
            )
        except httpx.RequestError as error:
            return unreachable(error)
        retry_after = response.headers.get("Retry-After")
        return read_response(response.status_code, response.content, retry_after)
