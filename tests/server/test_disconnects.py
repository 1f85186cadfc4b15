"""Clients that disconnect before their response cause no error and no leak, in every run mode."""

import os
import socket
import struct

import pytest

from tests.support.waiting import wait_until

GET = b"GET /api/score/top10 HTTP/1.1\r\nHost: x\r\n\r\n"
PARTIAL_BODY = (
    b"POST /api/score/update HTTP/1.1\r\nHost: x\r\nX-Request-ID: x\r\nContent-Length: 99\r\n\r\n{"
)


def send_and_reset(server, data):
    """Send the data, and reset the connection after the first byte of the first response."""
    client = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    client.sendall(data)
    assert client.recv(1) == b"H"
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


@pytest.mark.parametrize(
    "data",
    [GET + GET[:20], GET + PARTIAL_BODY, GET * 150],
    ids=["in the head", "in the body", "before the responses"],
)
def test_a_reset_connection_leaves_no_traceback(server, data):
    send_and_reset(server, data)

    for _ in range(3):
        server.top10()
    assert "Traceback" not in server.log()


@pytest.mark.parametrize("server", ["python wsgi.py"], indirect=True)
def test_a_reset_connection_leaves_no_file_open(server):
    def count_files():
        return len(os.listdir(f"/proc/{server.process.pid}/fd"))

    send_and_reset(server, GET)
    before = count_files()

    for _ in range(30):
        send_and_reset(server, GET * 5 + GET[:30])

    wait_until(lambda: count_files() <= before)
