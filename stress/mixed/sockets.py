"""Bare sockets, for what no library would do."""

import contextlib
import socket
import struct


def connected(port, seconds=10):
    """Return a connection to the server."""
    return socket.create_connection(("127.0.0.1", port), timeout=seconds)


def reset(connection):
    """Vanish without a goodbye: the other side is told of a connection that never was."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with contextlib.suppress(OSError):  # the other side has gone before
        # Or a thread that still reads from it would keep it open.
        connection.shutdown(socket.SHUT_RD)
    connection.close()


def status_of(port, request):
    """Send these bytes and return the status that they are answered with, 0 if with none."""
    with connected(port) as connection:
        connection.sendall(request)
        answer = b""
        while b"\r\n" not in answer:
            try:
                data = connection.recv(4096)
            except ConnectionResetError:
                return 0
            if not data:
                return 0
            answer += data
    return int(answer.split()[1])
