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
            raise MeasurementFailed(f"an update returned {status}: {body}")
        body = body if isinstance(body, dict) else json.loads(body)
        self._numbers.append(number_of(body["score"]))

    def accept_batch(self, status, body):
        """Record the response to a batch. Raises MeasurementFailed unless all were accepted."""
        if status != 200:
            raise MeasurementFailed(f"a batch returned {status}")
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
    for body in server.updates.one_per_player():
        status, response = server.send(server.scorer_token, json.loads(body))
        if status != 200:
            raise MeasurementFailed(f"an update returned {status}: {response}")


def updates_by_http(server, seconds):
    """Return the accepted updates per second over 32 connections, one in flight on each."""
    clients = [HttpClient(server) for _ in range(CONNECTIONS)]
    updates = AcceptedUpdates(server)
    return _rate(server, seconds, updates, clients, updates.post, updates.accept)


def updates_by_event(server, seconds):
    """Return the accepted updates per second over 4 Socket.IO connections, 32 in flight on each."""
    clients = [EventClient(server, EVENTS_IN_FLIGHT) for _ in range(EVENT_CONNECTIONS)]
    updates = AcceptedUpdates(server)
    return _rate(server, seconds, updates, clients, updates.post, updates.accept)


def updates_in_batches(server, seconds):
    """Return the accepted updates per second in batches of 100, or without batches by HTTP."""
    if not server.has_batches:
        return updates_by_http(server, seconds)
    clients = [HttpClient(server) for _ in range(BATCH_CONNECTIONS)]
    updates = AcceptedUpdates(server)
    rate = _rate(server, seconds, updates, clients, updates.post_batch, updates.accept_batch)
    return BATCH_SIZE * rate


def _rate(server, seconds, updates, clients, send, check):
    before = len(server.recorded())
    rate = Load(clients, send, check).run(seconds)
    updates.check(before)
    return rate


def top10_requests(server, seconds):
    """Return the top 10 responses per second over 32 connections on an unchanging board."""
    request = wire.request("GET", "/api/score/top10", server.port, server.scorer_token)
    clients = [HttpClient(server) for _ in range(CONNECTIONS)]
    return Load(clients, lambda client: client.send(request), _check_top10).run(seconds)


def _check_top10(status, body):
    if status != 200 or body.count(b'"user_id"') != 10:
        raise MeasurementFailed(f"the top 10 returned {status}: {body[:100]}")
