"""Small floods of every kind, all at the same time against one server."""

import sys

import pytest

from stress import floods
from tests.support.prerequisites import missing

SIZES = {
    "idle": 300,
    "slow-heads": 50,
    "slow-bodies": 50,
    "unread-subscriptions": 40,
    "bad-tokens": 2,
    "bad-connects": 2,
    "pipelining": 4,
}
# A count that shows that the server was reached as intended.
REACHED = {
    "idle": "opened",
    "slow-heads": "opened",
    "slow-bodies": "opened",
    "unread-subscriptions": "subscribed",
    "bad-tokens": "401",
    "bad-connects": "44",
    "pipelining": "200",
}


@pytest.fixture(scope="module")
def result():
    if not sys.platform.startswith("linux"):
        missing("the sockets of a process are read from Linux's /proc")
    return floods.measure(SIZES, seconds=2, settle_time=1)


def test_all_connections_are_closed_and_other_clients_are_served(result):
    assert result.failures == []


@pytest.mark.parametrize("name", SIZES)
def test_the_server_answers_a_flood_as_intended(result, name):
    assert result.counts[name].get(REACHED[name], 0) > 0
