"""Measure requests per second: updates by HTTP, by event and in batches, and top 10 reads."""

import json

from . import wire
from .load import EventClient, HttpClient, Load, Lost
from .updates import number_of

CONNECTIONS = 32
EVENT_CONNECTIONS, EVENTS_IN_FLIGHT = 4, 32
BATCH_CONNECTIONS, BATCH_SIZE = 4, 100


class Submitted:
    """Updates that a subject has accepted; `check` compares them with its database."""

    def __init__(self, subject):
        self._subject = subject
        self._accepted = []

    def post(self, client):
        client.post(self._subject.updates.next())

    def post_batch(self, client):
        bodies = b",".join(self._subject.updates.next() for _ in range(BATCH_SIZE))
        client.post(b'{"updates": [' + bodies + b"]}", "/api/score/batch")

    def accept(self, status, body):
        """Record the response to an update. Raises Lost unless it is 200."""
        if status != 200:
            raise Lost(f"an update was answered {status}: {body}")
        body = body if isinstance(body, dict) else json.loads(body)
        self._accepted.append(number_of(body["score"]))

    def accept_batch(self, status, body):
        """Record the response to a batch. Raises Lost unless every update in it was accepted."""
        if status != 200:
            raise Lost(f"a batch was answered {status}")
        results = json.loads(body)["results"]
        if len(results) != BATCH_SIZE:
            raise Lost(f"{len(results)} results of {BATCH_SIZE} updates")
        for result in results:
            self.accept(result["status"], result["body"])

    def check(self, before):
        """Raise Lost unless the rows after the first `before` are exactly the accepted updates."""
        gained = self._subject.recorded()[before:]
        if sorted(gained) != sorted(self._accepted):
            raise Lost(f"{len(self._accepted)} accepted, {len(gained)} recorded")


def give_everyone_a_score(subject):
    """Post an update for each player, which also warms up the server."""
    submitted = Submitted(subject)
    bodies = subject.updates.everyone_once()
    clients = [HttpClient(subject) for _ in range(4)]
    load = Load(clients, lambda client: client.post(bodies.pop()), submitted.accept)
    while bodies:
        load.run_volley()
    load.close()


def updates_by_http(subject, seconds):
    """Return the accepted updates per second over 32 connections, one in flight on each."""
    submitted = Submitted(subject)
    clients = [HttpClient(subject) for _ in range(CONNECTIONS)]
    return _rate(subject, seconds, submitted, clients, submitted.post, submitted.accept)


def updates_by_event(subject, seconds):
    """Return the accepted updates per second over 4 Socket.IO connections, 32 in flight on each."""
    submitted = Submitted(subject)
    clients = [EventClient(subject, EVENTS_IN_FLIGHT) for _ in range(EVENT_CONNECTIONS)]
    return _rate(subject, seconds, submitted, clients, submitted.post, submitted.accept)


def updates_in_batches(subject, seconds):
    """Return the accepted updates per second in batches of 100, over 4 connections."""
    submitted = Submitted(subject)
    clients = [HttpClient(subject) for _ in range(BATCH_CONNECTIONS)]
    send, check = submitted.post_batch, submitted.accept_batch
    return BATCH_SIZE * _rate(subject, seconds, submitted, clients, send, check)


def _rate(subject, seconds, submitted, clients, send, check):
    before = len(subject.recorded())
    load = Load(clients, send, check)
    counted = load.run_for(seconds)
    load.close()
    submitted.check(before)
    return counted / seconds


def top10_requests(subject, seconds):
    """Return the top 10 responses per second over 32 connections on an unchanging board."""
    request = wire.request("GET", "/api/score/top10", subject.port, subject.scorer_token)
    clients = [HttpClient(subject) for _ in range(CONNECTIONS)]
    load = Load(clients, lambda client: client.send(request), _top10_check())
    counted = load.run_for(seconds)
    load.close()
    return counted / seconds


def _top10_check():
    """Return a check that raises Lost unless a response has ten entries. It caches known bodies."""
    known = set()

    def check(status, body):
        if status == 200 and body in known:
            return
        if status != 200 or len(json.loads(body)["top_10_scores"]) != 10:
            raise Lost(f"the top 10 was answered {status}: {body[:100]}")
        known.add(body)

    return check
