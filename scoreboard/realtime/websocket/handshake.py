"""Upgrades an HTTP request to a WebSocket, under `python wsgi.py` and under `flask run`."""

from collections.abc import Callable, Iterable
from typing import Any

from wsproto.utilities import generate_accept_token

from ...concurrency import runtime
from .connection import SILENCE_TIMEOUT, WebSocket

StartResponse = Callable[..., Any]


def is_upgrade(environ: runtime.WsgiEnvironment) -> bool:
    """Whether the request is a WebSocket handshake as RFC 6455 defines it."""
    tokens = [part.strip() for part in environ.get("HTTP_CONNECTION", "").lower().split(",")]
    key = environ.get("HTTP_SEC_WEBSOCKET_KEY", "")
    return (
        "upgrade" in tokens
        and environ.get("HTTP_UPGRADE", "").lower() == "websocket"
        and environ.get("HTTP_SEC_WEBSOCKET_VERSION") == "13"
        and bool(key)
        and key.isascii()
    )


def serve(
    environ: runtime.WsgiEnvironment,
    start_response: StartResponse,
    opened: Callable[[WebSocket], object],
    max_message_size: int,
    subprotocol: str | None = None,
) -> Iterable[bytes]:
    """Answer the handshake and call `opened` with the WebSocket, to set its callbacks.

    The request must be one that `is_upgrade` accepts. No extension is accepted: compressing our
    small messages costs more than it saves, and memory per client. On the loop, returns at once;
    under `flask run`, blocks until the end and raises ConnectionError, as its server expects.
    """
    answer = [
        b"HTTP/1.1 101 Switching Protocols",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Accept: "
        + generate_accept_token(environ["HTTP_SEC_WEBSOCKET_KEY"].encode()),
    ]
    if subprotocol:
        answer.append(b"Sec-WebSocket-Protocol: " + subprotocol.encode())
    connection, sent_already = runtime.detach_socket(environ, SILENCE_TIMEOUT)
    websocket = WebSocket(connection, max_message_size)
    websocket.push(b"\r\n".join([*answer, b"", b""]))
    opened(websocket)
    if sent_already and not websocket.take_data(sent_already):
        websocket.end()
    else:
        runtime.watch(connection, websocket.take, websocket.end)
    return runtime.finish(environ)
