"""Measure requests per second: updates by HTTP, by event and in batches, and top 10 reads."""

import json

from . import wire
from .clients import EventClient, HttpClient, Load, MeasurementFailed
from .updates import number_of

CONNECTIONS = 32
EVENT_CONNECTIONS, EVENTS_IN_FLIGHT = 4, 32
BATCH_CONNECTIONS, BATCH_SIZE = 4, 100


class AcceptedUpdates:
    """Posts updates to a server; `check` compares those that it accepted with its database."""

    def __init__(self, server):
        self._server = server
        self._numbers = []

    def post(self, client):
        client.post(self._server.updates.next())

    def post_batch(self, client):
        bodies = b",".join(self._server.updates.next() for _ in range(BATCH_SIZE))
        client.post(b'{"updates": [' + bodies + b"]}", "/api/score/batch")

    def accept(self, status, body):
        """Record the response to an update. Raises MeasurementFailed unless it is 200."""
        if status != 200:
            raise MeasurementFailed(f"an update was answered {status}: {body}")
        body = body if isinstance(body, dict) else json.loads(body)
        self._numbers.append(number_of(body["score"]))

    def accept_batch(self, status, body):
        """Record the response to a batch. Raises MeasurementFailed unless all were accepted."""
        if status != 200:
            raise MeasurementFailed(f"a batch was answered {status}")
        results = json.loads(body)["results"]
        if len(results) != BATCH_SIZE:
            raise MeasurementFailed(f"{len(results)} results of {BATCH_SIZE} updates")
        for result in results:
            self.accept(result["status"], result["body"])

    def check(self, before):
        """Raise MeasurementFailed unless the rows after the first `before` are these updates."""
        recorded = self._server.recorded()[before:]
        if sorted(recorded) != sorted(self._numbers):
            raise MeasurementFailed(f"{len(self._numbers)} accepted, {len(recorded)} recorded")


def give_all_players_a_score(server):
    """Post an update for each player, which also warms up the server."""
    accepted = AcceptedUpdates(server)
    bodies = server.updates.one_per_player()
    clients = [HttpClient(server) for _ in range(4)]
    load = Load(clients, lambda client: client.post(bodies.pop()), accepted.accept)
    while bodies:
        load.run_once()
    load.close()


def updates_by_http(server, seconds):
    """Return the accepted updates per second over 32 connections, one in flight on each."""
    accepted = AcceptedUpdates(server)
    clients = [HttpClient(server) for _ in range(CONNECTIONS)]
    return _rate(server, seconds, accepted, clients, accepted.post, accepted.accept)


def updates_by_event(server, seconds):
    """Return the accepted updates per second over 4 Socket.IO connections, 32 in flight on each."""
    accepted = AcceptedUpdates(server)
    clients = [EventClient(server, EVENTS_IN_FLIGHT) for _ in range(EVENT_CONNECTIONS)]
    return _rate(server, seconds, accepted, clients, accepted.post, accepted.accept)


def updates_in_batches(server, seconds):
    """Return the accepted updates per second in batches of 100, over 4 connections."""
    accepted = AcceptedUpdates(server)
    clients = [HttpClient(server) for _ in range(BATCH_CONNECTIONS)]
    send, check = accepted.post_batch, accepted.accept_batch
    return BATCH_SIZE * _rate(server, seconds, accepted, clients, send, check)


def _rate(server, seconds, accepted, clients, send, check):
    before = len(server.recorded())
    load = Load(clients, send, check)
    count = load.run_for(seconds)
    load.close()
    accepted.check(before)
    return count / seconds


def top10_requests(server, seconds):
    """Return the top 10 responses per second over 32 connections on an unchanging board."""
    request = wire.request("GET", "/api/score/top10", server.port, server.scorer_token)
    clients = [HttpClient(server) for _ in range(CONNECTIONS)]
    load = Load(clients, lambda client: client.send(request), _top10_check())
    count = load.run_for(seconds)
    load.close()
    return count / seconds


def _top10_check():
    """Return a check of top 10 responses, which caches the bodies that it has parsed."""
    known = set()

    def check(status, body):
        if status == 200 and body in known:
            return
        if status != 200 or len(json.loads(body)["top_10_scores"]) != 10:
            raise MeasurementFailed(f"the top 10 was answered {status}: {body[:100]}")
        known.add(body)

    return check
