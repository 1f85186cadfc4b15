"""What both clients do, without input and output.

A flow is a generator: it yields steps, such as a request, and receives their results. The sync and
the async client run the same flows and differ only in how they perform a step.
"""

import base64
import json
import random
import time
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar
from urllib.parse import quote

from .errors import (
    ScoreboardError,
    Unauthorized,
    is_temporary,
    is_token_refused,
    outcome,
)
from .models import Page, RankedEntry, Receipt, Standing, Update, parse, parse_entries

T = TypeVar("T")

# Seconds.
REQUEST_TIMEOUT = 10.0
MIN_RETRY_DELAY = 0.5
MAX_RETRY_DELAY = 5.0
# A token is renewed before its last tenth, but at most so many seconds before its end.
MAX_RENEWAL_MARGIN = 30.0
# The server accepts 1,000 updates and 256 KiB: this fits whatever the updates contain.
MAX_BATCH_SIZE = 500
PAGE_SIZE = 100

TokenSource = Callable[[str | None], str]
AsyncTokenSource = Callable[[str | None], Awaitable[str]]


@dataclass(frozen=True)
class Request:
    """Send a request; the result is the body of the response. `path` is below `/api/`."""

    method: str
    path: str
    body: Mapping[str, Any] | None = None
    query: Mapping[str, Any] = field(default_factory=dict)
    token: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers of the request."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


@dataclass(frozen=True)
class Wait:
    """Wait for so many seconds."""

    seconds: float


@dataclass(frozen=True)
class Authorize:
    """Run `Core.token(refused)` while no other caller does; the result is its result."""

    refused: str | None = None


@dataclass(frozen=True)
class CallSource:
    """Call the token source of the program; the result is an access token."""

    source: Callable[[str | None], Any]
    stale: str | None


Step = Request | Wait | Authorize | CallSource
# The client sends the result of each step, or a ScoreboardError.
Flow = Generator[Step, Any, T]


def origin(url: str) -> str:
    """Return the URL without a slash at its end. Raises ValueError if it is not one of HTTP."""
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"The URL must start with http:// or https://: {url!r}")
    return url.rstrip("/")


def perform(step: Step) -> Flow[Any]:
    """Return the result of a step. Raises the ScoreboardError of a step that failed."""
    result = yield step
    if isinstance(result, ScoreboardError):
        raise result
    return result


def retry_delay(failures: int) -> float:
    """Return how many seconds to wait after so many earlier failures."""
    longest: float = min(MIN_RETRY_DELAY * 2 ** min(failures, 10), MAX_RETRY_DELAY)
    return longest * random.uniform(0.5, 1)  # noqa: S311  # nosec B311


class Attempts:
    """Decides after each failed attempt of a call whether and when to try again."""

    def __init__(self, timeout: float) -> None:
        self._deadline = time.monotonic() + timeout
        self._failures = 0

    def delay(self, error: ScoreboardError) -> float:
        """Return how many seconds to wait. Raises the error if it is final or time is up."""
        delay = max(retry_delay(self._failures), error.retry_after)
        self._failures += 1
        if not is_temporary(error) or time.monotonic() + delay > self._deadline:
            raise error
        return delay


def claims(token: str | None) -> dict[str, Any]:
    """Return the claims of a JWT without verification, or {} if it is none."""
    try:
        payload = (token or "").split(".")[1]
        found = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def fresh_for(token: str) -> float:
    """Return for how many seconds a new token can be used. The local clock may be wrong."""
    found = claims(token)
    lifetime = found.get("exp", 0) - found.get("iat", 0)
    return lifetime - min(lifetime / 10, MAX_RENEWAL_MARGIN) if lifetime > 0 else float("inf")


class Core:
    """The state of a client and its flows. Only `token` and the sign-ins change the state."""

    def __init__(
        self,
        token: str | Callable[[str | None], Any] | None,
        refresh_token: str | None,
        on_refresh: Callable[[str], object],
        timeout: float,
    ) -> None:
        self.timeout = timeout
        self._access = token if isinstance(token, str) else None
        self._source = None if isinstance(token, str) else token
        self._refresh = refresh_token
        self._on_refresh = on_refresh
        self._fresh_until = float("inf")

    @property
    def user_id(self) -> str | None:
        """The id of the signed-in user, None before the first token."""
        user_id = claims(self._access).get("sub")
        return user_id if isinstance(user_id, str) else None

    def token(self, refused: str | None = None) -> Flow[str | None]:
        """Return a token other than `refused` if there can be one; None for anonymous clients.

        Two runs at the same time would refresh with the same token: the client runs one at a time.
        """
        is_fresh = self._access != refused and time.monotonic() < self._fresh_until
        if self._access and is_fresh:
            return self._access
        if self._refresh:
            yield from self._renew(self.retry(Request("POST", "auth/refresh", token=self._refresh)))
        elif self._source:
            self._use((yield from perform(CallSource(self._source, self._access))))
        return self._access

    def join(self, username: str, join_code: str | None) -> Flow[str]:
        """Join as a guest; return the user id. Not repeated: the name would then be taken."""
        body = {"username": username, **({"join_code": join_code} if join_code else {})}
        return (yield from self._renew(perform(Request("POST", "auth/join", body))))

    def login(self, username: str, password: str) -> Flow[str]:
        """Sign in with name and password; return the user id."""
        body = {"username": username, "password": password}
        return (yield from self._renew(self.retry(Request("POST", "auth/login", body))))

    def logout(self) -> Flow[None]:
        """End the sign-in."""
        yield from self.retry(Request("POST", "auth/logout", token=self._refresh or self._access))
        self._access = self._refresh = self._source = None

    def retry(self, request: Request) -> Flow[Any]:
        """Send a request until it is answered; return the body. Raises a ScoreboardError."""
        attempts = Attempts(self.timeout)
        while True:
            try:
                return (yield from perform(request))
            except ScoreboardError as error:
                delay = attempts.delay(error)
            yield from perform(Wait(delay))

    def call(self, request: Request) -> Flow[Any]:
        """Send a request with the token, and with a newer one if the server refuses the token."""
        token = yield from perform(Authorize())
        try:
            return (yield from self.retry(replace(request, token=token)))
        except Unauthorized as error:
            if token is None or not is_token_refused(error):
                raise
        token = yield from perform(Authorize(refused=token))
        return (yield from self.retry(replace(request, token=token)))

    def submit(self, update: Update) -> Flow[Receipt]:
        """Submit an update until it has a receipt."""
        try:
            own_id = yield from self.own_id()
            body = yield from self.call(Request("POST", "score/update", update.body(own_id)))
        except ScoreboardError as error:
            error.update = update
            raise
        return parse(Receipt, body)

    def submit_batch(self, updates: Sequence[Update]) -> Flow[list[Receipt | ScoreboardError]]:
        """Submit any number of updates; return the receipt or the error of each."""
        own_id = yield from self.own_id()
        results = []
        for start in range(0, len(updates), MAX_BATCH_SIZE):
            batch = updates[start : start + MAX_BATCH_SIZE]
            results += yield from self._submit_batch(batch, own_id)
        return results

    def ticket(self, board: str) -> Flow[str]:
        """Return a run ticket."""
        body = yield from self.call(Request("POST", "score/ticket", {"board": board}))
        return str(body["ticket"])

    def top10(self, board: str, season: int | None) -> Flow[list[RankedEntry]]:
        """Return the top 10 of a board."""
        body = yield from self._read(f"boards/{quote(board, safe='')}/top10", season=season)
        return parse_entries(RankedEntry, body["top_10_scores"])

    def page(self, board: str, season: int | None, cursor: str | None) -> Flow[Page]:
        """Return a page of a leaderboard."""
        path = f"boards/{quote(board, safe='')}/leaderboard"
        body = yield from self._read(path, season=season, cursor=cursor, limit=PAGE_SIZE)
        return Page(parse_entries(RankedEntry, body["entries"]), body["next"])

    def rank(
        self, user_id: str | None, board: str, season: int | None, around: int
    ) -> Flow[Standing]:
        """Return a user's entry and those around it."""
        user_id = user_id or (yield from self.own_id())
        path = f"boards/{quote(board, safe='')}/leaderboard/users/{quote(user_id, safe='')}"
        body = yield from self._read(path, season=season, around=around)
        entries = parse_entries(RankedEntry, body["entries"])
        return Standing(parse(RankedEntry, body["entry"]), entries, body["total"])

    def own_id(self) -> Flow[str]:
        """Return the id of the signed-in user. Raises Unauthorized if there is none."""
        yield from perform(Authorize())
        if self.user_id is None:
            message = "Sign in first: call `join` or `login`, or pass a token of a user."
            raise Unauthorized(message, "not_signed_in")
        return self.user_id

    def _read(self, path: str, **query: Any) -> Flow[Any]:
        given = {name: value for name, value in query.items() if value is not None}
        return (yield from self.call(Request("GET", path, query=given)))

    def _submit_batch(
        self, updates: Sequence[Update], own_id: str
    ) -> Flow[list[Receipt | ScoreboardError]]:
        """Submit one batch; send the updates again that failed for a temporary reason."""
        attempts = Attempts(self.timeout)
        results: dict[int, Receipt | ScoreboardError] = {}
        pending = list(range(len(updates)))
        while pending:
            bodies = [updates[number].body(own_id) for number in pending]
            answer = yield from self.call(Request("POST", "score/batch", {"updates": bodies}))
            failed: dict[int, ScoreboardError] = {}
            for number, result in zip(pending, answer["results"], strict=True):
                results[number] = _batch_result(result, updates[number])
                if isinstance(error := results[number], ScoreboardError) and is_temporary(error):
                    failed[number] = error
            pending = list(failed)
            if failed:
                try:
                    delay = attempts.delay(min(failed.values(), key=lambda e: e.retry_after))
                except ScoreboardError:
                    break  # time is up: the results have these errors
                yield from perform(Wait(delay))
        return [results[number] for number in range(len(updates))]

    def _renew(self, request: Flow[Any]) -> Flow[str]:
        """Use the pair of tokens that a request returns; return the user id."""
        pair = yield from request
        self._source, self._refresh = None, pair["refresh_token"]
        self._use(pair["access_token"])
        self._on_refresh(pair["refresh_token"])
        return str(pair["user_id"])

    def _use(self, token: str) -> None:
        if token != self._access:
            self._access, self._fresh_until = token, time.monotonic() + fresh_for(token)


def _batch_result(result: dict[str, Any], update: Update) -> Receipt | ScoreboardError:
    found = outcome(result["status"], result["body"], result.get("retry_after", 0))
    if isinstance(found, ScoreboardError):
        found.update = update
        return found
    return parse(Receipt, found)
