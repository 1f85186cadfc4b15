"""Subscribers that keep their messages and wait for them with a deadline."""

import json
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

import engineio
import socketio
import websocket

from tests.support.prerequisites import missing
from tests.support.waiting import TIMEOUT

PATH = "/ws/scoreboard"


class BaseClient:
    """The received messages, and functions that wait for more."""

    def __init__(self) -> None:
        self._messages: list[dict] = []
        self._changed = threading.Condition()

    def _take(self, message: dict) -> None:
        with self._changed:
            self._messages.append(message)
            self._changed.notify_all()

    def messages(self) -> list[dict]:
        with self._changed:
            return list(self._messages)

    def wait_for(
        self, enough: Callable[[list[dict]], bool], seconds: float = TIMEOUT
    ) -> list[dict]:
        """Return the messages once they are enough. Fails after `seconds`."""
        with self._changed:
            found = self._changed.wait_for(lambda: enough(self._messages), seconds)
            assert found, f"not within {seconds} s; last messages: {self._messages[-5:]}"
            return list(self._messages)

    def wait_for_count(self, count: int, seconds: float = TIMEOUT) -> list[dict]:
        return self.wait_for(lambda messages: len(messages) >= count, seconds)


class WebSocketClient(BaseClient):
    """A plain WebSocket client. `code` is the code of the close frame, None without one."""

    def __init__(
        self,
        url: str,
        token: str | None,
        how: str = "header",
        boards: list[str] | None = None,
        **options,
    ) -> None:
        super().__init__()
        query = {} if boards is None else {"board": ",".join(boards)}
        if token and how == "query":
            query["token"] = token
        address = url.replace("http", "ws", 1) + PATH
        if query:
            address += "?" + urlencode(query, safe=",")
        if token and how == "header":
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
            pass  # closed without a close frame
        self.ended.set()

    def close(self) -> None:
        self.socket.close(timeout=1)


class _OrderedEngine(engineio.Client):
    """Handles messages in order; the library handles each in a new thread."""

    def _trigger_event(self, event: str, *args, **options):
        options["run_async"] = options.get("run_async", False) and event != "message"
        return super()._trigger_event(event, *args, **options)


class _OrderedClient(socketio.Client):
    def _engineio_client_class(self):
        return _OrderedEngine


class SocketIoClient(BaseClient):
    """A python-socketio client. Checks that the event name equals the type of the message."""

    def __init__(
        self,
        url: str,
        token: str | None,
        transports: list[str] | None = None,
        boards: object = None,
    ) -> None:
        super().__init__()
        auth = {"token": token, "boards": boards}
        self.client = _OrderedClient(reconnection=False)
        self.refusal: dict | None = None
        self.ended = threading.Event()
        self.client.on("connect_error", self._refused)
        self.client.on("disconnect", lambda *reason: self.ended.set())
        self.client.on("*", self._event)
        self.client.connect(
            url,
            auth={name: value for name, value in auth.items() if value is not None} or None,
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
        return self.call("update_score", update)

    def call(self, event: str, body: object) -> dict:
        """Send an event and return its acknowledgement."""
        return self.client.call(event, body, timeout=TIMEOUT)

    def close(self) -> None:
        self.client.disconnect()


class NodeClient(BaseClient):
    """The JavaScript `socket.io-client`, in a Node process."""

    def __init__(
        self,
        url: str,
        token: str | None,
        transports: str,
        update: dict | None = None,
        boards: list[str] | None = None,
        subscribe: str = "",
    ) -> None:
        """Connect; then submit the update and subscribe to another board, if given."""
        super().__init__()
        folder = Path(__file__).parents[1] / "js"
        if not shutil.which("node") or not (folder / "node_modules").exists():
            missing("Node or its packages are not installed")
        options = [json.dumps(update), json.dumps(boards), json.dumps(subscribe)]
        self.process = subprocess.Popen(
            ["node", "watch.mjs", url, token or "-", transports, *options],
            cwd=folder,
            stdout=subprocess.PIPE,
            text=True,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout:
            event, value = json.loads(line)
            self._take({"event": event, "value": value})

    def wait_for_event(self, event: str) -> object:
        """Return the value of the first event of this name. Waits up to 20 seconds."""
        messages = self.wait_for(lambda lines: any(line["event"] == event for line in lines), 20)
        return next(line["value"] for line in messages if line["event"] == event)

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10)
