"""What a flood is measured by: how long the server takes, not how late its observer is."""

import select
import socket
import sys
from types import SimpleNamespace

import pytest

from stress.floods import people
from tests.support.prerequisites import missing


@pytest.fixture
def clock(monkeypatch):
    """Return the time, which passes when it is told to."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(people, "time", SimpleNamespace(time=lambda: clock.now))
    monkeypatch.setattr(people, "_arrived", lambda told: clock.now)
    return clock


@pytest.fixture
def exchange(clock):
    """Return what asks, 10 times a second, and has the answer after so many seconds."""
    if not sys.platform.startswith("linux"):
        missing("when something arrived is read from Linux")
    listener = socket.create_server(("127.0.0.1", 0))
    asker = people.Asker(listener.getsockname()[1], 10, lambda at: b"?", lambda *_: None)
    server, _ = listener.accept()

    def exchange(seconds):
        asker.turn(clock.now)
        assert asker.waiting
        server.recv(1)
        clock.now += seconds
        server.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        select.select([asker.socket], [], [], 10)
        asker.read()
        return asker.taken[-1]

    with listener, server, asker.socket:
        yield exchange


def test_times_run_from_when_they_were_due(exchange):
    slow = exchange(0.25)

    assert [slow, exchange(0.01), exchange(0.01)] == pytest.approx([0.25, 0.16, 0.07])


def test_times_do_not_tell_of_the_time_in_which_nobody_asked(exchange, clock):
    exchange(0.01)
    clock.now += 5

    assert [exchange(0.01), clock.now] == pytest.approx([0.01, 1005.02])


def test_times_do_not_make_up_for_it_either(exchange, clock):
    exchange(0.01)
    clock.now += 5
    exchange(0.01)
    clock.now += 0.095

    assert exchange(0.01) == pytest.approx(0.01)
