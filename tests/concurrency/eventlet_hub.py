"""What `runtime.py` requires of eventlet: these tests fail if a new version changes it.

`test_on_eventlet.py` runs this file on eventlet.
"""

import contextlib
import socket
import threading

import pytest
from eventlet import hubs, patcher

from scoreboard.concurrency import runtime
from tests.support.waiting import wait_until

TIMEOUT = 10  # seconds


@pytest.fixture
def hub():
    return hubs.get_hub()


@pytest.fixture
def sockets():
    """Return a native socket, as the server uses it, and the client's end."""
    server, client = socket.socketpair()
    client.settimeout(TIMEOUT)
    connection = patcher.original("socket").socket(fileno=server.fd.detach())
    connection.setblocking(False)
    with client, contextlib.closing(connection):
        yield connection, client


class Reading:
    """A watched connection. After the first byte its task waits for `resume`."""

    def __init__(self, connection):
        self.connection = connection
        self.steps = []
        self.resume = threading.Event()
        runtime.watch(connection, self._read, lambda: self.steps.append("ended"))

    def _read(self):
        data = self.connection.recv(1)
        self.steps.append(data)
        if len(self.steps) == 1:
            self.resume.wait(TIMEOUT)
        return bool(data)


def listeners(hub, connection):
    return [kind for kind in (hub.READ, hub.WRITE) if connection.fileno() in hub.listeners[kind]]


def test_the_tests_run_on_eventlet():
    assert runtime.ON_EVENTLET
    assert type(threading.Lock()).__module__.startswith("eventlet")


def test_a_watched_socket_is_reported_while_there_is_data_and_not_after(hub, sockets):
    connection, client = sockets
    calls, watch = [], runtime.SocketWatch(connection)
    watch.on_readable(lambda: calls.append("readable"))

    client.sendall(b"x")
    wait_until(lambda: len(calls) > 2)
    watch.close()
    before = len(calls)
    runtime.yield_to_loop()
    runtime.yield_to_loop()

    assert len(calls) == before
    assert listeners(hub, connection) == []


def test_reading_and_writing_are_watched_independently(hub, sockets):
    connection, client = sockets
    calls, watch = [], runtime.SocketWatch(connection)
    watch.on_readable(lambda: calls.append(connection.recv(1)))
    watch.on_writable(lambda: calls.append("writable") or watch.on_writable(None))

    wait_until(lambda: calls == ["writable"])
    hubs.trampoline(connection, write=True)

    assert listeners(hub, connection) == [hub.READ]
    client.sendall(b"x")
    wait_until(lambda: calls == ["writable", b"x"])
    watch.close()


def test_a_descriptor_can_be_reused_after_its_watch_is_closed(sockets):
    connection, _ = sockets
    descriptor, watch = connection.fileno(), runtime.SocketWatch(connection)
    watch.on_readable(lambda: None)
    watch.close()
    connection.close()
    first, second = socket.socketpair()
    assert descriptor in (first.fileno(), second.fileno())

    first.sendall(b"x")

    assert second.recv(1) == b"x"
    first.close()
    second.close()


def test_data_that_arrives_while_a_task_waits_is_read_after_it(hub, sockets):
    connection, client = sockets
    reading = Reading(connection)

    client.sendall(b"12")
    wait_until(lambda: reading.steps and listeners(hub, connection) == [])
    assert reading.steps == [b"1"]
    reading.resume.set()
    client.shutdown(socket.SHUT_WR)

    wait_until(lambda: reading.steps == [b"1", b"2", b"", "ended"])
    assert not runtime.watched


def test_a_connection_shut_down_while_its_task_waits_ends_after_the_task(hub, sockets):
    connection, client = sockets
    reading = Reading(connection)

    client.sendall(b"1")
    wait_until(lambda: reading.steps)
    connection.shutdown(socket.SHUT_RDWR)
    wait_until(lambda: listeners(hub, connection) == [])
    assert reading.steps == [b"1"]
    reading.resume.set()

    wait_until(lambda: reading.steps == [b"1", b"", "ended"])
    assert not runtime.watched


def test_a_task_that_yields_continues_after_all_others():
    steps = []
    runtime.spawn(steps.append, "other task")

    runtime.yield_to_loop()

    assert steps == ["other task"]
