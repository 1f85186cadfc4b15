"""What `runtime.py` relies on of eventlet: each fails if a new version moves it.

`test_on_eventlet.py` runs this on eventlet, the one place where it can be seen.
"""

import contextlib
import socket
import threading

import pytest
from eventlet import hubs, patcher

from scoreboard.concurrency import runtime
from tests.support.waiting import wait_until
from tests.support.websocket_pairs import SECONDS, Pair


@pytest.fixture
def hub():
    return hubs.get_hub()


@pytest.fixture
def sockets():
    """Return a socket as the transport has it, and the other end of it."""
    server, client = socket.socketpair()
    client.settimeout(SECONDS)
    connection = patcher.original("socket").socket(fileno=server.fd.detach())
    connection.setblocking(False)
    with client, contextlib.closing(connection):
        yield connection, client


def listeners(hub, descriptor):
    return [kind for kind in (hub.READ, hub.WRITE) if descriptor in hub.listeners[kind]]


def test_here_is_eventlet():
    assert runtime.ON_EVENTLET
    assert type(threading.Lock()).__module__.startswith("eventlet")


def test_a_taken_socket_is_the_standard_librarys_and_never_waits(sockets):
    connection, _ = sockets

    assert type(connection) is patcher.original("socket").socket
    with pytest.raises(BlockingIOError):
        connection.recv(1)


def test_the_hub_calls_again_and_again_while_there_is_something_to_read(hub, sockets):
    connection, client = sockets
    called = []
    listener = hub.add(hub.READ, connection.fileno(), called.append, lambda error: None, None)

    client.sendall(b"x")
    wait_until(lambda: len(called) > 2)
    hub.remove(listener)
    before = len(called)
    runtime.yield_to_loop()
    runtime.yield_to_loop()

    assert set(called) == {connection.fileno()}
    assert len(called) == before
    assert listeners(hub, connection.fileno()) == []


def test_the_hub_calls_when_the_connection_is_shut_down_on_our_side(hub, sockets):
    connection, _ = sockets
    called = []
    listener = hub.add(hub.READ, connection.fileno(), called.append, lambda error: None, None)

    connection.shutdown(socket.SHUT_RDWR)

    wait_until(lambda: called)
    hub.remove(listener)


def test_one_may_wait_to_write_while_the_hub_listens_for_something_to_read(hub, sockets):
    connection, _ = sockets
    listener = hub.add(hub.READ, connection.fileno(), lambda fd: None, lambda error: None, None)

    hubs.trampoline(connection, write=True)

    assert listeners(hub, connection.fileno()) == [hub.READ]
    hub.remove(listener)


def test_a_descriptor_that_was_closed_after_its_listeners_went_may_be_used_again(hub, sockets):
    connection, _ = sockets
    number = connection.fileno()
    hub.remove(hub.add(hub.READ, number, lambda fd: None, lambda error: None, None))
    connection.close()
    again, other = socket.socketpair()
    assert number in (again.fileno(), other.fileno())

    again.sendall(b"x")

    assert other.recv(1) == b"x"
    again.close()
    other.close()


def test_a_task_may_be_started_by_the_hub_itself_and_wait_there(hub, sockets):
    connection, client = sockets
    go_on, steps, here = threading.Event(), [], []

    def take():
        here.append(runtime.getcurrent().parent is hub.greenlet)
        steps.append("started")
        go_on.wait(SECONDS)
        steps.append("went on")
        return False

    runtime.watch(connection, take, lambda: steps.append("ended"))
    client.sendall(b"x")
    wait_until(lambda: steps == ["started"])
    go_on.set()
    wait_until(lambda: steps == ["started", "went on", "ended"])

    assert here == [True]
    assert not runtime.watched


def test_nothing_is_read_while_a_task_waits_and_what_came_meanwhile_is_read_after(hub, sockets):
    connection, client = sockets
    go_on, read = threading.Event(), []

    def take():
        read.append(connection.recv(1))
        if read == [b"1"]:
            go_on.wait(SECONDS)
        return bool(read[-1])

    runtime.watch(connection, take, lambda: None)
    client.sendall(b"12")
    wait_until(lambda: read)
    wait_until(lambda: listeners(hub, connection.fileno()) == [])
    assert read == [b"1"]
    go_on.set()
    client.shutdown(socket.SHUT_WR)

    wait_until(lambda: not runtime.watched)
    assert read == [b"1", b"2", b""]


def test_a_watched_socket_is_called_back_until_the_watch_is_closed(hub, sockets):
    connection, client = sockets
    readable, writable = [], []
    watch = runtime.SocketWatch(connection)
    watch.on_readable(lambda: readable.append(connection.recv(1)))
    watch.on_writable(lambda: writable.append(None) or watch.on_writable(None))

    client.sendall(b"x")

    wait_until(lambda: readable == [b"x"])
    wait_until(lambda: writable == [None])
    watch.close()
    assert listeners(hub, connection.fileno()) == []


def test_one_that_is_aborted_while_its_task_waits_ends_when_the_task_goes_on(hub):
    go_on, started = threading.Event(), threading.Event()
    pair = Pair()
    descriptor = pair.server.fileno()

    def wait(message):
        started.set()
        go_on.wait(SECONDS)

    pair.websocket.on_message = wait
    pair.send(1, b"one")
    pair.send(1, b"two")
    started.wait(SECONDS)
    pair.websocket._abort()
    wait_until(lambda: listeners(hub, descriptor) == [])
    assert not pair.ended.is_set()
    go_on.set()

    assert pair.wait() is None
    assert pair.server.fileno() == -1
    assert listeners(hub, descriptor) == []
    assert not runtime.watched
    pair.close()


def test_whoever_gives_way_goes_on_after_everybody_else():
    steps = []
    runtime.spawn(steps.append, "the other")

    runtime.yield_to_loop()

    assert steps == ["the other"]
