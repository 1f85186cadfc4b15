"""Receivers of webhooks, in the process of the tests."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from tests.support.servers import free_port


class Received(NamedTuple):
    """A request that arrived."""

    path: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """An HTTP server on a port of 127.0.0.1 that keeps the requests; `open` starts it.

    It responds with `status` and `response_headers`, but not while `released` is clear.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/hook"
        self.requests: list[Received] = []
        self.status = 204
        self.response_headers: dict[str, str] = {}
        self.released = threading.Event()
        self.released.set()
        self._server: ThreadingHTTPServer | None = None

    def open(self) -> "Receiver":
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.requests.append(Received(self.path, dict(self.headers), body))
                receiver.released.wait(60)
                self.send_response(receiver.status)
                for name, value in receiver.response_headers.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=[0.05], daemon=True).start()
        return self

    def close(self) -> None:
        self.released.set()
        if self._server:
            self._server.shutdown()
            self._server.server_close()
