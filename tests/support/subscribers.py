"""Viewers for the tests: they keep what they are sent, and wait for it with a deadline."""

import json
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import engineio
import socketio
import websocket

from tests.support.prerequisites import missing
from tests.support.waiting import TIMEOUT

PATH = "/ws/scoreboard"


class Viewer:
    """What every kind of viewer has: the messages so far, and waiting for more."""

    def __init__(self) -> None:
        self._messages: list[dict] = []
        self._news = threading.Condition()

    def _take(self, message: dict) -> None:
        with self._news:
            self._messages.append(message)
            self._news.notify_all()

    def messages(self) -> list[dict]:
        with self._news:
            return list(self._messages)

    def wait_for(
        self, enough: Callable[[list[dict]], bool], seconds: float = TIMEOUT
    ) -> list[dict]:
        """Return the messages once they are enough; fail if they are not by then."""
        with self._news:
            found = self._news.wait_for(lambda: enough(self._messages), seconds)
            assert found, f"not within {seconds} s; the last of it: {self._messages[-5:]}"
            return list(self._messages)

    def wait_for_count(self, count: int, seconds: float = TIMEOUT) -> list[dict]:
        return self.wait_for(lambda messages: len(messages) >= count, seconds)


class WebSocketClient(Viewer):
    """A plain WebSocket. `code` is the close code once it has ended."""

    def __init__(self, url: str, token: str | None, how: str = "header", **options) -> None:
        super().__init__()
        address = url.replace("http", "ws", 1) + PATH
        if token and how == "query":
            address += f"?token={token}"
        elif token and how == "header":
            options["header"] = [f"Authorization: Bearer {token}"]
        elif token and how == "subprotocol":
            options["subprotocols"] = ["scoreboard", token]
        self.socket = websocket.create_connection(address, timeout=TIMEOUT, **options)
        self.code: int | None = None
        self.ended = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        self.socket.settimeout(None)
        try:
            while True:
                opcode, data = self.socket.recv_data()
                if opcode == websocket.ABNF.OPCODE_TEXT:
                    self._take(json.loads(data))
                elif opcode == websocket.ABNF.OPCODE_CLOSE:
                    self.code = int.from_bytes(data[:2], "big")
                    break
        except (websocket.WebSocketException, OSError):
            pass  # without a close frame: `code` stays None, which the tests can see
        self.ended.set()

    def close(self) -> None:
        self.socket.close(timeout=1)


class _InOrder(engineio.Client):
    """The library's client, but for handling messages one after the other.

    It starts a thread for each, which then overtake one another.
    """

    def _trigger_event(self, event: str, *args, **options):
        options["run_async"] = options.get("run_async", False) and event != "message"
        return super()._trigger_event(event, *args, **options)


class _Client(socketio.Client):
    def _engineio_client_class(self):
        return _InOrder


class SocketIoClient(Viewer):
    """python-socketio's client; it checks that event and type agree."""

    def __init__(self, url: str, token: str | None, transports: list[str] | None = None) -> None:
        super().__init__()
        self.client = _Client(reconnection=False)
        self.refusal: dict | None = None
        self.ended = threading.Event()
        self.client.on("connect_error", self._refused)
        self.client.on("disconnect", lambda *reason: self.ended.set())
        self.client.on("*", self._event)
        self.client.connect(
            url,
            auth={"token": token} if token is not None else None,
            socketio_path=PATH,
            transports=transports,
            wait_timeout=TIMEOUT,
        )

    def _refused(self, error: object) -> None:
        self.refusal = error

    def _event(self, event: str, message: dict) -> None:
        assert event == message["type"]
        self._take(message)

    def submit(self, update: object) -> dict:
        return self.client.call("update_score", update, timeout=TIMEOUT)

    def close(self) -> None:
        self.client.disconnect()


class NodeClient(Viewer):
    """The ordinary `socket.io-client`, in a Node process."""

    def __init__(self, url: str, token: str | None, transports: str, update: dict | None = None):
        super().__init__()
        folder = Path(__file__).parents[1] / "js"
        if not shutil.which("node") or not (folder / "node_modules").exists():
            missing("Node or its packages are not installed")
        command = ["node", "watch.mjs", url, token or "-", transports]
        self.process = subprocess.Popen(
            [*command, *([json.dumps(update)] if update else [])],
            cwd=folder,
            stdout=subprocess.PIPE,
            text=True,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout:
            what, value = json.loads(line)
            self._take({"event": what, "value": value})

    def wait_for_event(self, what: str) -> object:
        """Return the value of the first line of this kind, once it is there."""
        messages = self.wait_for(lambda so_far: any(line["event"] == what for line in so_far), 20)
        return next(line["value"] for line in messages if line["event"] == what)

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10)
