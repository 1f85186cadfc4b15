"""Clients that submit updates until they are stopped, and log all requests and responses.

Each client has a log with one JSON object per line: each update before it is sent, and its response
or that there was none. The checker compares these logs with the database.
"""

import contextlib
import http.client
import itertools
import json
import random
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import socketio

Update = dict[str, Any]
Answer = tuple[int, dict[str, Any]]

ANSWER_SECONDS = 10
# Short, because a client that waits for an acknowledgement does not notice a lost connection.
EVENT_SECONDS = 3
TRIES = 40
GONE = (OSError, http.client.HTTPException, socketio.exceptions.SocketIOError)


class Log:
    """The log of one client. `acknowledged` counts responses of 200, `lost` missing responses."""

    def __init__(self, path: Path, by: str) -> None:
        self._file = path.open("w", buffering=1)
        self._numbers = itertools.count()
        self._by = by
        self.acknowledged = self.lost = self.repeats = 0

    def sent(self, update: Update) -> int:
        number = next(self._numbers)
        self._write(number, sent=update, by=self._by)
        return number

    def answered(self, number: int, status: int, body: dict[str, Any]) -> None:
        self.acknowledged += status == 200
        self.repeats += body.get("error", {}).get("code") == "replayed"
        self._write(number, status=status, body=body)

    def unanswered(self, number: int, why: Exception) -> None:
        self.lost += 1
        self._write(number, lost=type(why).__name__)

    def close(self) -> None:
        self._file.close()

    def _write(self, number: int, **told: Any) -> None:
        self._file.write(json.dumps({"number": number, **told}) + "\n")


class Http:
    """Submits updates one by one over a keep-alive HTTP connection."""

    most = 1
    path = "/api/score/update"

    def __init__(self, url: str, token: str) -> None:
        target = urlsplit(url)
        self._connection = http.client.HTTPConnection(
            target.hostname, target.port, timeout=ANSWER_SECONDS
        )
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def send(self, updates: list[Update]) -> list[Answer]:
        """Return the response to the update. Raises one of `GONE` if there is none."""
        return [self._post(updates[0])]

    def _post(self, body: Any) -> Answer:
        self._connection.request("POST", self.path, json.dumps(body), self._headers)
        answer = self._connection.getresponse()
        return answer.status, json.loads(answer.read())

    def close(self) -> None:
        self._connection.close()


class Batch(Http):
    """Submits batches of up to 5 updates over a keep-alive HTTP connection."""

    most = 5
    path = "/api/score/batch"

    def send(self, updates: list[Update]) -> list[Answer]:
        """Return a response per update; all are the same if the whole batch is refused."""
        status, body = self._post({"updates": updates})
        if status != 200:
            return [(status, body)] * len(updates)
        return [(result["status"], result["body"]) for result in body["results"]]


class Event:
    """Submits updates one by one as events of a Socket.IO connection."""

    most = 1

    def __init__(self, url: str, token: str) -> None:
        self._client = socketio.Client(reconnection=False)
        options = {"socketio_path": "/ws/scoreboard", "transports": ["websocket"]}
        self._client.connect(url, auth={"token": token}, wait_timeout=ANSWER_SECONDS, **options)

    def send(self, updates: list[Update]) -> list[Answer]:
        """Return the response to the update. Raises one of `GONE` if there is none."""
        told = self._client.call("update_score", updates[0], timeout=EVENT_SECONDS)
        return [(told["status"], told["body"])]

    def close(self) -> None:
        self._client.disconnect()


class Client:
    """A client that sends one request after another over one transport (`way`), with retries.

    `begun` is shared by all clients. Each update is added before it is sent, so that another client
    may send it at the same time.
    """

    def __init__(
        self,
        way: Callable[..., Any],
        urls: list[str],
        person: Any,
        players: list[str],
        log: Log,
        begun: list[Update],
    ) -> None:
        self._way, self._urls, self._person, self._players = way, urls, person, players
        self.log, self._begun = log, begun
        self._random = random.Random(str(log))
        self._connection: Any = None

    def run(self, stop: threading.Event, pause: float, seed: str) -> None:
        """Send requests until `stop` is set, with a pause of about `pause` seconds between two."""
        self._random.seed(seed)
        while not stop.wait(self._random.random() * 2 * pause):
            count = self._random.randint(1, self._way.most)
            self._insist([self._next() for _ in range(count)], stop)
        self._let_go()
        self.log.close()

    def _next(self) -> Update:
        """Return an update: a new one, sometimes invalid, or one that any client has begun."""
        dice = self._random.random()
        if self._begun and dice < 0.2:
            return self._random.choice(self._begun if dice < 0.1 else self._begun[-3:])
        update = self._new()
        if dice > 0.97:
            update["score_value"] = "not a number"
        else:
            self._begun.append(update)
        return update

    def _new(self) -> Update:
        late = timedelta(hours=1) if self._random.random() < 0.1 else timedelta()
        update = {
            "user_id": self._random.choice(self._players),
            # Practically unique, so that updates can be distinguished.
            "score_value": self._random.randrange(10**12),
            "timestamp": (datetime.now(UTC) - late).isoformat(),
        }
        if self._random.random() < 0.5:
            update["nonce"] = uuid.UUID(int=self._random.getrandbits(128)).hex
        return update

    def _insist(self, updates: list[Update], stop: threading.Event) -> None:
        """Send these until each has a response other than 500, or `TRIES` is reached.

        Once `stop` is set, send them one more time at most.
        """
        for _ in range(TRIES):
            last = stop.is_set()
            updates = self._send(updates)
            if not updates or last:
                return
            stop.wait(0.1)

    def _send(self, updates: list[Update]) -> list[Update]:
        """Send these once; return those to send again."""
        numbers = [self.log.sent(update) for update in updates]
        try:
            if self._connection is None:
                self._connection = self._way(self._random.choice(self._urls), self._person.token)
            answers = self._connection.send(updates)
        except GONE as error:
            for number in numbers:
                self.log.unanswered(number, error)
            self._let_go()
            return updates
        again = []
        for number, update, (status, body) in zip(numbers, updates, answers, strict=True):
            self.log.answered(number, status, body)
            if status == 500:
                again.append(update)
        return again

    def _let_go(self) -> None:
        with contextlib.suppress(*GONE):
            if self._connection:
                self._connection.close()
        self._connection = None


class Workload:
    """Clients of every transport on the servers at these URLs; they start at once."""

    WAYS = (Http, Http, Event, Event, Batch)

    def __init__(
        self,
        urls: list[str],
        scorer: Any,
        players: list[str],
        folder: Path,
        seed: int = 0,
        pause: float = 0.02,
    ) -> None:
        """Start the clients. `pause` is the average seconds between two requests of each."""
        begun: list[Update] = []
        self.logs = [folder / f"client-{number}.jsonl" for number in range(len(self.WAYS))]
        self.clients = [
            Client(way, urls, scorer, players, Log(path, scorer.user_id), begun)
            for way, path in zip(self.WAYS, self.logs, strict=True)
        ]
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=client.run, args=(self._stop, pause, f"{seed}-{number}"))
            for number, client in enumerate(self.clients)
        ]
        for thread in self._threads:
            thread.start()

    def count(self, what: str) -> int:
        """Return the current sum of a counter: `acknowledged`, `lost` or `repeats`."""
        return sum(getattr(client.log, what) for client in self.clients)

    def wait_for_more(self, count: int, seconds: float = 60) -> None:
        """Wait until `count` more updates are acknowledged. Raises TimeoutError."""
        wanted, deadline = self.count("acknowledged") + count, time.monotonic() + seconds
        while self.count("acknowledged") < wanted:
            if time.monotonic() > deadline:
                raise TimeoutError(f"not {count} more updates within {seconds} s")
            time.sleep(0.005)

    def stop(self) -> None:
        """Stop the clients after their current requests. Blocks until they have ended."""
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
