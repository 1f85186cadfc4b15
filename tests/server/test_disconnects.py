"""Clients that are gone before their answer are no error of the server's."""

import os
import socket
import struct

import pytest

from tests.support.waiting import wait_until

WHOLE = b"GET /api/score/top10 HTTP/1.1\r\nHost: x\r\n\r\n"
POST = (
    b"POST /api/score/update HTTP/1.1\r\nHost: x\r\nX-Request-ID: %s\r\nContent-Length: 99\r\n\r\n{"
)


def go_after(server, sent):
    """Send all of it at once, and vanish as soon as the first request has its answer."""
    client = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    client.sendall(sent)
    assert client.recv(1) == b"H"
    # Closed so, the kernel tells the other side that the connection is lost.
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


@pytest.fixture
def answers_still(server):
    """Have the server answer others after the test, and leave no traceback behind."""
    yield
    for _ in range(3):
        server.top10()
    assert "Traceback" not in server.log()


@pytest.mark.usefixtures("answers_still")
@pytest.mark.parametrize(
    "sent",
    [WHOLE + WHOLE[:20], WHOLE + POST % b"x", WHOLE * 150],
    ids=["within the headers", "within the body", "before the answers"],
)
def test_who_goes_leaves_no_traceback(server, sent):
    go_after(server, sent)


@pytest.mark.parametrize("server", ["python wsgi.py"], indirect=True)
def test_who_goes_leaves_no_file_open(server):
    def files():
        return len(os.listdir(f"/proc/{server.process.pid}/fd"))

    go_after(server, WHOLE)
    before = files()

    for _ in range(30):
        go_after(server, WHOLE + WHOLE[:30])

    wait_until(lambda: files() <= before)
