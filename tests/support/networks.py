"""A network between clients and the server that fails on demand."""

import contextlib
import socket
import threading


class Network:
    """A TCP proxy in front of the server that can lose a response and cut connections."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.lost: bytes | None = None  # the next response that contains this is lost
        self.connections: list[socket.socket] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def lose_response(self, content: bytes) -> None:
        """Close the connection instead of delivering the next response with this content."""
        self.lost = content

    def cut(self) -> None:
        """Close all connections."""
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.listener.close()
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                server = socket.create_connection(("127.0.0.1", self.port))
                self.connections += [client, server]
                for ends in ((client, server), (server, client)):
                    threading.Thread(target=self._copy, args=ends, daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if self.lost and self.lost in data:
                    self.lost = None
                    break
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
