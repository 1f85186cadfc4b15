"""HTTP and WebSocket client of a running server, for `simulate` and `replay`."""

import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import click
import requests
import websocket

DEFAULT_URL = "http://127.0.0.1:5000"


class Poster:
    """Posts updates over one persistent connection. Not thread-safe: use one per thread."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/") + "/api/score"
        self._session = requests.Session()

    def post(self, token: str, update: dict[str, Any]) -> requests.Response:
        """Post one update. Raises ClickException if the server cannot be reached."""
        return self._post("/update", token, update)

    def post_all(self, token: str, updates: list[dict[str, Any]]) -> requests.Response:
        """Post a batch of updates. Raises ClickException if the server cannot be reached."""
        return self._post("/batch", token, {"updates": updates})

    def _post(self, path: str, token: str, body: dict[str, Any]) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}"}
        try:
            return self._session.post(self._url + path, json=body, headers=headers, timeout=30)
        except requests.RequestException:
            raise click.ClickException(f"No answer from {self._url}: is it running?") from None


class Watcher:
    """Counts the messages that a subscriber receives, from construction until `stop`."""

    def __init__(self, url: str, token: str) -> None:
        target = urlsplit(url)
        scheme = "wss" if target.scheme == "https" else "ws"
        self.received = 0
        self._socket = websocket.create_connection(
            f"{scheme}://{target.netloc}/ws/scoreboard",
            header=[f"Authorization: Bearer {token}"],
            timeout=30,
        )
        self._thread = threading.Thread(target=self._count, daemon=True)
        self._thread.start()

    def _count(self) -> None:
        try:
            while self._socket.recv():
                self.received += 1
        except (websocket.WebSocketException, OSError):
            pass  # closed by either side: the count is final

    def stop(self) -> int:
        """Close the connection and return the number of messages received."""
        self._socket.close(timeout=1)
        self._thread.join(timeout=2)
        return self.received


def watch(url: str, token: str) -> Watcher:
    """Return a connected watcher. Raises ClickException if it cannot connect."""
    return _or_complain(url, lambda: Watcher(url, token))


def _or_complain(url: str, connect: Callable[[], Watcher]) -> Watcher:
    try:
        return connect()
    except (websocket.WebSocketException, OSError) as error:
        raise click.ClickException(f"Cannot watch {url}: {error}") from None
