"""Clients that submit updates until they are stopped, and log all requests and responses.

A log has one JSON object per line: each update before it is sent, and its response or its lack.
"""

import contextlib
import itertools
import json
import random
import threading
import uuid
from datetime import UTC, datetime, timedelta

import requests
import socketio

from tests.support.waiting import wait_until

# Seconds.
PAUSE = 0.02
RESPONSE_TIMEOUT = 10
# Short, because a client that waits for an acknowledgement does not notice a lost connection.
ACKNOWLEDGEMENT_TIMEOUT = 3
MAX_ATTEMPTS = 40
CONNECTION_ERRORS = (OSError, socketio.exceptions.SocketIOError)  # also of requests


class Log:
    """The log of one client. `acknowledged` counts responses of 200, `lost` missing responses."""

    def __init__(self, path, user_id):
        self._file = path.open("w", buffering=1)
        self._numbers = itertools.count()
        self._user_id = user_id
        self.acknowledged = self.lost = 0

    def sent(self, update):
        """Log an update before it is sent; return its number for the other methods."""
        number = next(self._numbers)
        self._write(number, sent=update, by=self._user_id)
        return number

    def answered(self, number, status, body):
        self.acknowledged += status == 200
        self._write(number, status=status, body=body)

    def unanswered(self, number, error):
        self.lost += 1
        self._write(number, lost=type(error).__name__)

    def close(self):
        self._file.close()

    def _write(self, number, **fields):
        self._file.write(json.dumps({"number": number, **fields}) + "\n")


class HttpTransport:
    """Submits updates one by one over a keep-alive HTTP connection."""

    max_updates = 1

    def __init__(self, url, token):
        self._url, self._session = url, requests.Session()
        self._session.headers["Authorization"] = f"Bearer {token}"

    def send(self, updates):
        """Return the response to the update. Raises one of `CONNECTION_ERRORS`."""
        return [self._post("/api/score/update", updates[0])]

    def _post(self, path, body):
        response = self._session.post(self._url + path, json=body, timeout=RESPONSE_TIMEOUT)
        return response.status_code, response.json()

    def close(self):
        self._session.close()


class BatchTransport(HttpTransport):
    """Submits batches of up to 5 updates over a keep-alive HTTP connection."""

    max_updates = 5

    def send(self, updates):
        """Return a response per update; all are the same if the whole batch is refused."""
        status, body = self._post("/api/score/batch", {"updates": updates})
        if status != 200:
            return [(status, body)] * len(updates)
        return [(result["status"], result["body"]) for result in body["results"]]


class EventTransport:
    """Submits updates one by one as events of a Socket.IO connection."""

    max_updates = 1

    def __init__(self, url, token):
        self._client = socketio.Client(reconnection=False)
        options = {"socketio_path": "/ws/scoreboard", "transports": ["websocket"]}
        self._client.connect(url, auth={"token": token}, wait_timeout=RESPONSE_TIMEOUT, **options)

    def send(self, updates):
        """Return the response to the update. Raises one of `CONNECTION_ERRORS`."""
        response = self._client.call("update_score", updates[0], timeout=ACKNOWLEDGEMENT_TIMEOUT)
        return [(response["status"], response["body"])]

    def close(self):
        self._client.disconnect()


class Client:
    """A client that sends one request after another over one transport, with retries.

    Updates go to random ones of `boards`; None is `main` without a name. `started` is shared by all
    clients. Each update is added before it is sent, so that another client may send it at the same
    time.
    """

    def __init__(self, transport, urls, token, players, boards, log, started):
        self._transport, self._urls, self._token, self._players = transport, urls, token, players
        self._boards, self.log, self._started = boards, log, started
        self._connection = None

    def run(self, stop, seed):
        """Send requests until `stop` is set, with a pause of about `PAUSE` between two."""
        self._random = random.Random(seed)
        while not stop.wait(self._random.random() * 2 * PAUSE):
            count = self._random.randint(1, self._transport.max_updates)
            self._send_until_answered([self._next() for _ in range(count)], stop)
        self._disconnect()
        self.log.close()

    def _next(self):
        """Return an update: a new one, sometimes invalid, or one that any client has started."""
        dice = self._random.random()
        if self._started and dice < 0.2:
            return self._random.choice(self._started if dice < 0.1 else self._started[-3:])
        age = timedelta(hours=1) if self._random.random() < 0.1 else timedelta()
        update = {
            "user_id": self._random.choice(self._players),
            # Practically unique, so that updates can be distinguished.
            "score_value": self._random.randrange(10**12),
            "timestamp": (datetime.now(UTC) - age).isoformat(),
        }
        if self._random.random() < 0.5:
            update["nonce"] = uuid.UUID(int=self._random.getrandbits(128)).hex
        if board := self._random.choice(self._boards):
            update["board"] = board
        if dice > 0.97:
            update["score_value"] = "not a number"
        else:
            self._started.append(update)
        return update

    def _send_until_answered(self, updates, stop):
        """Send updates until each has a response other than 500, up to `MAX_ATTEMPTS` times.

        Once `stop` is set, send them one more time at most.
        """
        for _ in range(MAX_ATTEMPTS):
            is_last = stop.is_set()
            updates = self._send(updates)
            if not updates or is_last:
                return
            stop.wait(0.1)

    def _send(self, updates):
        """Send updates once; return those to send again."""
        numbers = [self.log.sent(update) for update in updates]
        try:
            self._connection = self._connection or self._transport(
                self._random.choice(self._urls), self._token
            )
            responses = self._connection.send(updates)
        except CONNECTION_ERRORS as error:
            for number in numbers:
                self.log.unanswered(number, error)
            self._disconnect()
            return updates
        for number, (status, body) in zip(numbers, responses, strict=True):
            self.log.answered(number, status, body)
        return [
            update for update, (status, _) in zip(updates, responses, strict=True) if status == 500
        ]

    def _disconnect(self):
        with contextlib.suppress(*CONNECTION_ERRORS):
            if self._connection:
                self._connection.close()
        self._connection = None


class Workload:
    """One client per entry of `TRANSPORTS` on the servers at these URLs; they start at once."""

    TRANSPORTS = (HttpTransport, HttpTransport, EventTransport, EventTransport, BatchTransport)

    def __init__(self, urls, scorer, players, boards, folder, seed):
        self._stop, self._clients, self._threads, started = threading.Event(), [], [], []
        for number, transport in enumerate(self.TRANSPORTS):
            log = Log(folder / f"client-{number}.jsonl", scorer.user_id)
            client = Client(transport, urls, scorer.token, players, boards, log, started)
            thread = threading.Thread(target=client.run, args=(self._stop, f"{seed}-{number}"))
            self._clients.append(client)
            self._threads.append(thread)
            thread.start()

    def count(self, counter):
        """Return the current sum of a counter of `Log`."""
        return sum(getattr(client.log, counter) for client in self._clients)

    def wait_for_more(self, count):
        """Wait until `count` more updates are acknowledged. Fails after a minute."""
        target = self.count("acknowledged") + count
        wait_until(lambda: self.count("acknowledged") >= target, 60)

    def stop(self):
        """Stop the clients after their current requests. Blocks until they have ended."""
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
