"""Fixtures of boards: create and change them as an admin."""

import time

import pytest


@pytest.fixture
def administer(client, admin):
    """Return a function that sends a request to the admin endpoint of a board."""

    def administer(method, path="", body=None):
        url = f"/api/admin/boards{path}"
        return client.open(url, method=method, json=body, headers=admin.bearer)

    return administer


@pytest.fixture
def make_board(administer):
    """Return a function that creates a board and returns its object."""

    def make(board_id="speedrun", **fields):
        response = administer("POST", body={"board_id": board_id, "title": "Board", **fields})
        assert response.status_code == 201, response.json
        return response.json

    return make


@pytest.fixture
def clock(monkeypatch):
    """Return the clock of the ledgers, which `set` moves to a time in microseconds."""

    class Clock:
        def __init__(self):
            self.now = time.time_ns() // 1000

        def set(self, now):
            self.now = now

    clock = Clock()
    monkeypatch.setattr(time, "time_ns", lambda: clock.now * 1000)
    return clock
