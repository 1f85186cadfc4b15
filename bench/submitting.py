"""How many updates and questions a second: by HTTP, by event, in batches, and for the top 10."""

import json
import time

from . import wire
from .load import EventClient, HttpClient, Load, Lost
from .updates import number_of

CONNECTIONS = 32
EVENT_CONNECTIONS, EVENTS_IN_FLIGHT = 4, 32
BATCH_CONNECTIONS, BATCH = 4, 100
BUSY = 50  # updates a second while the top 10 is asked for


class Submitted:
    """Updates sent to a subject and accepted; at the end the database is asked if it is so."""

    def __init__(self, subject):
        self._subject = subject
        self._accepted = []

    def post(self, client):
        client.post(self._subject.updates.next())

    def post_batch(self, client):
        bodies = b",".join(self._subject.updates.next() for _ in range(BATCH))
        client.post(b'{"updates": [' + bodies + b"]}", "/api/score/batch")

    def accept(self, status, body):
        """Take the answer to an update; any but 200 is Lost."""
        if status != 200:
            raise Lost(f"an update was answered {status}: {body}")
        body = body if isinstance(body, dict) else json.loads(body)
        self._accepted.append(number_of(body["score"]))

    def accept_batch(self, status, body):
        """Take the answer to a batch; any update in it that was not accepted is Lost."""
        if status != 200:
            raise Lost(f"a batch was answered {status}")
        results = json.loads(body)["results"]
        if len(results) != BATCH:
            raise Lost(f"{len(results)} results of {BATCH} updates")
        for result in results:
            self.accept(result["status"], result["body"])

    def check(self, before):
        """Raise Lost unless the database has gained exactly the accepted updates since."""
        gained = self._subject.recorded()[before:]
        if sorted(gained) != sorted(self._accepted):
            raise Lost(f"{len(self._accepted)} accepted, {len(gained)} recorded")


def give_everyone_a_score(subject):
    """Post an update for each player, which also warms the server up."""
    submitted = Submitted(subject)
    bodies = subject.updates.everyone_once()
    clients = [HttpClient(subject) for _ in range(4)]
    load = Load(clients, lambda client: client.post(bodies.pop()), submitted.accept)
    while bodies:
        load.run_volley()
    load.close()


def updates_by_http(subject, seconds):
    """Return the accepted updates a second over 32 kept connections, one in flight on each."""
    submitted = Submitted(subject)
    clients = [HttpClient(subject) for _ in range(CONNECTIONS)]
    return _rate(subject, seconds, submitted, clients, submitted.post, submitted.accept)


def updates_by_event(subject, seconds):
    """Return the accepted updates a second by 4 Socket.IO connections, 32 in flight on each."""
    submitted = Submitted(subject)
    clients = [EventClient(subject, EVENTS_IN_FLIGHT) for _ in range(EVENT_CONNECTIONS)]
    return _rate(subject, seconds, submitted, clients, submitted.post, submitted.accept)


def updates_in_batches(subject, seconds):
    """Return the accepted updates a second in batches of 100, over 4 connections."""
    submitted = Submitted(subject)
    clients = [HttpClient(subject) for _ in range(BATCH_CONNECTIONS)]
    send, check = submitted.post_batch, submitted.accept_batch
    return BATCH * _rate(subject, seconds, submitted, clients, send, check)


def _rate(subject, seconds, submitted, clients, send, check):
    before = len(subject.recorded())
    load = Load(clients, send, check)
    counted = load.run_for(seconds)
    load.close()
    submitted.check(before)
    return counted / seconds


def top10_a_second(subject, seconds):
    """Return the answers a second over 32 connections while nothing changes."""
    request = wire.request("GET", "/api/score/top10", subject.port, subject.scorer_token)
    clients = [HttpClient(subject) for _ in range(CONNECTIONS)]
    load = Load(clients, lambda client: client.send(request), _ten_entries)
    counted = load.run_for(seconds)
    load.close()
    return counted / seconds


def top10_a_second_while_busy(subject, seconds):
    """Return the answers a second over 32 connections while 50 updates a second are accepted.

    No answer can be kept for longer than 20 ms then.
    """
    poster = _Poster(subject)
    request = wire.request("GET", "/api/score/top10", subject.port, subject.scorer_token)

    def send(client):
        poster.post_if_due()
        client.send(request)

    before = len(subject.recorded())
    clients = [HttpClient(subject) for _ in range(CONNECTIONS)]
    load = Load(clients, send, _ten_entries)
    load.beside(poster.client.socket, poster.read)
    counted = load.run_for(seconds)
    while poster.waiting:
        load.turn(1, again=False)
    load.close()
    poster.submitted.check(before)
    return counted / seconds


class _Poster:
    """Posts BUSY updates a second, as far as the server lets it: one at a time."""

    def __init__(self, subject):
        self.submitted = Submitted(subject)
        self.client = HttpClient(subject)
        self.waiting = False
        self._due = time.perf_counter()

    def post_if_due(self):
        if time.perf_counter() >= self._due and not self.waiting:
            self._due += 1 / BUSY
            self.waiting = True
            self.submitted.post(self.client)

    def read(self):
        for status, body in self.client.receive():
            self.waiting = False
            self.submitted.accept(status, body)


def _ten_entries(status, body):
    if status != 200 or len(json.loads(body)["top_10_scores"]) != 10:
        raise Lost(f"the top 10 was answered {status}: {body[:100]}")
