"""The async client."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from typing import Any, Self, TypeVar

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from .core import (
    REQUEST_TIMEOUT,
    AsyncTokenSource,
    Authorize,
    CallSource,
    Core,
    Flow,
    Request,
    Step,
    Wait,
    origin,
)
from .errors import ScoreboardError, read_response, unreachable
from .models import Message, RankedEntry, Receipt, Standing, Update
from .watching import Watch

T = TypeVar("T")


class AsyncScoreboard:
    """A client of the scoreboard at a URL. The tasks of one event loop may share it.

    `token` is an access token, or an async function that returns one: it is called with None, and
    again with its last token when that is about to expire or was refused. Without a token and
    before `join` or `login`, the client reads and watches public boards.

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
        token: str | AsyncTokenSource | None = None,
        refresh_token: str | None = None,
        on_refresh: Callable[[str], object] = lambda refresh_token: None,
        timeout: float = 30,
    ) -> None:
        self._url = origin(url)
        self._core = Core(token, refresh_token, on_refresh, timeout)
        self._http = httpx.AsyncClient(base_url=f"{self._url}/api/", timeout=REQUEST_TIMEOUT)
        self._lock = asyncio.Lock()

    @property
    def user_id(self) -> str | None:
        """The id of the signed-in user, None before the first token. Does not block."""
        return self._core.user_id

    async def join(self, username: str, join_code: str | None = None) -> str:
        """Join as a guest, with a name only; return the user id."""
        return await self._run(self._core.join(username, join_code))

    async def login(self, username: str, password: str) -> str:
        """Sign in with name and password; return the user id."""
        return await self._run(self._core.login(username, password))

    async def logout(self) -> None:
        """End the sign-in: the server revokes its tokens and closes its connections."""
        await self._run(self._core.logout())

    async def submit(
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
        return await self.submit_update(Update(score, board, user_id, season, ticket))

    async def submit_update(self, update: Update) -> Receipt:
        """Submit an update, which may have been sent before; return its receipt."""
        return await self._run(self._core.submit(update))

    async def submit_batch(self, updates: Iterable[Update]) -> list[Receipt | ScoreboardError]:
        """Submit any number of updates; return the receipt or the error of each, in order.

        Needs a scorer's token. Raises a ScoreboardError if a request as a whole fails: then submit
        the same updates again. Each of them counts once.
        """
        return await self._run(self._core.submit_batch(list(updates)))

    async def ticket(self, board: str = "main") -> str:
        """Return a run ticket of the signed-in user, to pass to `submit` at the end of the run."""
        return await self._run(self._core.ticket(board))

    async def top10(self, board: str = "main", *, season: int | None = None) -> list[RankedEntry]:
        """Return the top 10 of a board, of the current season or an earlier one."""
        return await self._run(self._core.top10(board, season))

    async def leaderboard(
        self, board: str = "main", *, season: int | None = None
    ) -> AsyncIterator[RankedEntry]:
        """Iterate over all entries of a board. Requests a page of 100 at a time."""
        cursor = None
        while True:
            page = await self._run(self._core.page(board, season, cursor))
            for entry in page.entries:
                yield entry
            cursor = page.next
            if cursor is None:
                return

    async def rank(
        self,
        user_id: str | None = None,
        board: str = "main",
        *,
        season: int | None = None,
        around: int = 5,
    ) -> Standing:
        """Return the entry of a user, by default the signed-in one, and those around it."""
        return await self._run(self._core.rank(user_id, board, season, around))

    async def watch(self, board: str | Iterable[str] = "main") -> AsyncGenerator[Message, None]:
        """Iterate over the messages of a board, or of up to 20; the current top 10 comes first.

        Connects again after any failure, and then continues with the current top 10. Raises a
        ScoreboardError if a retry cannot help: the token is refused, and the next too.
        To end it, leave the loop or cancel the task.
        """
        watch = Watch(self._core, self._url, board)
        while True:
            try:
                token = await self._run(watch.token())
                headers = {"Authorization": f"Bearer {token}"}
                async with connect(watch.url, additional_headers=headers) as connection:
                    while True:
                        message = watch.read(await connection.recv())
                        if message is not None:
                            yield message
            except (ScoreboardError, WebSocketException, OSError) as error:
                delay = watch.delay(error)
            await asyncio.sleep(delay)

    async def close(self) -> None:
        """Close the connections for requests. A `watch` ends with its task or its iterator."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def _run(self, flow: Flow[T]) -> T:
        result: Any = None
        while True:
            try:
                step = flow.send(result)
            except StopIteration as end:
                return end.value
            try:
                result = await self._perform(step)
            except ScoreboardError as error:
                result = error

    async def _perform(self, step: Step) -> Any:
        match step:
            case Request():
                return await self._send(step)
            case Wait():
                return await asyncio.sleep(step.seconds)
            case Authorize():
                async with self._lock:
                    return await self._run(self._core.token(step.refused))
            case CallSource():
                return await step.source(step.stale)

    async def _send(self, request: Request) -> Any:
        try:
            response = await self._http.request(
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
