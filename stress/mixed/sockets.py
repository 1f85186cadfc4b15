"""Raw sockets, for behaviour that no client library offers."""

import contextlib
import socket
import struct


def connected(port, seconds=10):
    """Return a connection to the server, with a timeout of `seconds`."""
    return socket.create_connection(("127.0.0.1", port), timeout=seconds)


def reset(connection):
    """Reset the connection: close it with a RST instead of a FIN."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with contextlib.suppress(OSError):  # the other side has closed it
        # Otherwise a thread that still reads from it would keep it open.
        connection.shutdown(socket.SHUT_RD)
    connection.close()


def status_of(port, request):
    """Send these bytes and return the response's status, or 0 if there is no response."""
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
