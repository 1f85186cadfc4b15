"""The fuzz targets: functions of bytes that must return for any input.

No response is a 5xx, no traceback is logged, the database changes only with a success response, and
no connection stays open.
"""

import io
import json
import socket

import wsproto
from werkzeug.test import create_environ, run_wsgi_app
from wsproto.events import CloseConnection

from scoreboard.realtime.socketio import engine
from scoreboard.realtime.socketio.packets import MAX_MESSAGE_SIZE
from scoreboard.realtime.websocket import connection

from .application import ROLES, fuzzed_application

# Bytes that an error response may have in addition to the size of the request.
MAX_ERROR_SIZE = 16 * 1024
HEADERS = (
    b"authorization connection cookie if-none-match origin upgrade sec-websocket-key "
    b"sec-websocket-protocol sec-websocket-version x-request-id"
).split()
VARIABLES = {
    b"query": "QUERY_STRING",
    b"content-length": "CONTENT_LENGTH",
    b"content-type": "CONTENT_TYPE",
} | {name: f"HTTP_{name.decode().upper().replace('-', '_')}" for name in HEADERS}


def http_body(data):
    """Send the body after the first line to the endpoint named in it: `scores.update player`."""
    first, _, body = data.partition(b"\n")
    fuzzed = fuzzed_application()
    with fuzzed.checked():
        _request(fuzzed, *_parse_target(fuzzed, first), fuzzed.substitute(body))
        _close_sessions(fuzzed)


def http_headers(data):
    """Request the endpoint in the first line, with the headers, query and path suffix below it."""
    first, *lines = data.split(b"\n")
    fuzzed = fuzzed_application()
    method, path, given = _parse_target(fuzzed, first)
    for line in lines:
        name, _, value = line.partition(b":")
        if name == b"suffix":
            path += value.decode("latin-1")
        elif name in VARIABLES:
            given[VARIABLES[name]] = fuzzed.substitute(value).strip().decode("latin-1")
    with fuzzed.checked():
        _request(fuzzed, method, path, given, b'{"role": "player"}')
        _close_sessions(fuzzed)


def socketio_packets(data):
    """Send packets, separated by \\x1e, by WebSocket; if the first byte is odd, connect first."""
    fuzzed = fuzzed_application()
    with fuzzed.checked():
        session, client = _open_websocket(fuzzed, connected=_is_odd(data))
        for packet in fuzzed.substitute(data[1:]).split(b"\x1e"):
            text = packet.decode(errors="replace")
            session.websocket.on_message(text)
        client.close()


def engineio_payload(data):
    """Post a payload to a polling session; if the first byte is odd, connect first."""
    fuzzed = fuzzed_application()
    with fuzzed.checked():
        session = _session(fuzzed)
        if _is_odd(data):
            _connect(fuzzed, session)
        given = {"QUERY_STRING": f"EIO=4&transport=polling&sid={session.sid}"}
        _request(fuzzed, "POST", "/ws/scoreboard/", given, fuzzed.substitute(data[1:]))
        _close_sessions(fuzzed)


def websocket_frames(data):
    """Send bytes to a WebSocket: raw if the first byte is `r`, else as masked frames.

    Each frame is given as the first byte of its header, its length, and its payload.
    """
    fuzzed = fuzzed_application()
    with fuzzed.checked():
        _, client = _open_websocket(fuzzed, connected=True)
        sent = fuzzed.substitute(data[1:])
        client.send(sent if data[:1] == b"r" else _masked(sent))
        client.close()


TARGETS = {
    each.__name__: each
    for each in (http_body, http_headers, socketio_packets, engineio_payload, websocket_frames)
}


def _is_odd(data):
    return bool(data) and data[0] % 2 == 1


def endpoints(app):
    """Return the method and path of every endpoint by its name."""
    found = {}
    for rule in app.url_map.iter_rules():
        path = rule.rule.replace("<path:filename>", "board.js")
        found[rule.endpoint] = ("POST" if "POST" in rule.methods else "GET", path)
    return {**found, "plain": ("GET", "/ws/scoreboard"), "engine": ("GET", "/ws/scoreboard/")}


def _parse_target(fuzzed, line):
    """Return the method, path and headers for a line; unknown names are mapped to known ones."""
    name, _, role = line.decode("latin-1").partition(" ")
    known = endpoints(fuzzed.app)
    if name not in known:
        name = sorted(known)[sum(line) % len(known)]
    method, path = known[name]
    path = path.replace("<user_id>", fuzzed.users["player"].user_id).replace("<score_id>", "1")
    role = role if role in ROLES or role == "anonymous" else ROLES[len(line) % len(ROLES)]
    if role == "anonymous":
        return method, path, {}
    return method, path, {"HTTP_AUTHORIZATION": f"Bearer {fuzzed.users[role].token}"}


def _request(fuzzed, method, path, given, body):
    """Send a request and check the response; a WebSocket's client sends nothing after it."""
    environ = create_environ(
        base_url="http://localhost:5000",
        method=method,
        input_stream=io.BytesIO(body),
        content_type="application/json",
        content_length=len(body),
        environ_overrides={"PATH_INFO": path, "wsgi.input_terminated": True, **given},
    )
    ours, theirs = socket.socketpair()
    theirs.shutdown(socket.SHUT_WR)
    environ["werkzeug.socket"] = ours
    with ours, theirs:
        try:
            response, status_line, _ = run_wsgi_app(fuzzed.app.wsgi_app, environ, buffered=True)
            content, status = b"".join(response), int(status_line[:3])
        except ConnectionError:  # how a WebSocket ends with the server of `flask run`
            content, status = theirs.recv(65536), 101
            assert content.startswith(b"HTTP/1.1 101 ")
    _check_response(status, content, path, len(body) + sum(map(len, given.values())))
    # A GET changes nothing, and the events in a session's POST have their own acknowledgements.
    if method == "POST" and status // 100 == 2 and not path.startswith("/ws"):
        if path.startswith("/api/score"):
            results = json.loads(content).get("results", [{"status": 200}])
            fuzzed.recorded += sum(each["status"] == 200 for each in results)
        else:
            fuzzed.has_accepted = True
            fuzzed.create_users()


def _check_response(status, content, path, size):
    assert status < 500, (status, content)
    if status < 400:
        return
    assert len(content) <= MAX_ERROR_SIZE + size, len(content)
    if not path.startswith("/ws/scoreboard/"):  # Engine.IO has its own error format
        error = json.loads(content)["error"]
        assert {"code", "message"} <= error.keys() <= {"code", "message", "fields", "receipt"}


def _session(fuzzed):
    """Return a new Engine.IO session of the application, with the polling transport."""
    request = {"REQUEST_METHOD": "GET", "QUERY_STRING": "EIO=4", "REMOTE_ADDR": "127.0.0.1"}
    fuzzed.engine.handle_request(request, lambda *response: None)
    return next(iter(fuzzed.engine.sockets.values()))


def _connect(fuzzed, session):
    token = fuzzed.users["scorer"].token
    session.receive(engine.message("0" + json.dumps({"token": token})))
    assert any(each.caller for each in fuzzed.connections._all), "not connected"


def _close_sessions(fuzzed):
    """Close every Engine.IO session."""
    for session in list(fuzzed.engine.sockets.values()):
        session.close(wait=False, abort=True)
        fuzzed.engine.sockets.pop(session.sid, None)


def _open_websocket(fuzzed, connected):
    """Return a session that has upgraded to a WebSocket, and the client's side of it."""
    session = _session(fuzzed)
    client = _WebSocketClient()
    session.open_websocket(client.websocket)
    for text in ("2probe", "5"):
        session.websocket.on_message(text)
    if connected:
        _connect(fuzzed, session)
    return session, client


class _WebSocketClient:
    """A client, and the server-side `websocket` connected to it."""

    def __init__(self):
        self._server, self._client = socket.socketpair()
        self._server.setblocking(False)
        self._client.setblocking(False)
        self.websocket = connection.WebSocket(self._server, MAX_MESSAGE_SIZE)
        self._reader = wsproto.Connection(wsproto.ConnectionType.CLIENT)

    def send(self, data):
        """Send the bytes and let the server process them, until one side closes."""
        for start in range(0, len(data), 4096):
            try:
                self._client.send(data[start : start + 4096])
            except OSError:
                return  # the server has closed the connection
            if not self.websocket.take():
                return
            self._read()

    def close(self):
        """Close both sides. Checks that the server sent valid frames, and none after a Close."""
        self.websocket.end()
        self._read()
        self._server.close()
        self._client.close()

    def _read(self):
        try:
            while data := self._client.recv(65536):
                self._reader.receive_data(data)
                events = list(self._reader.events())
                closes = [each for each in events if isinstance(each, CloseConnection)]
                assert closes in ([], events[-1:]), events
                assert not {1006, connection.INTERNAL_ERROR} & {each.code for each in closes}
        except BlockingIOError:
            pass


def _masked(data):
    """Return the frames that the bytes describe, with a mask of zeros; see `websocket_frames`."""
    frames, data = [], memoryview(data)
    while data:
        head, size = data[0], (data[1] if len(data) > 1 else 0) % 126
        payload = bytes(data[2 : 2 + size])
        frames.append(bytes([head, 0x80 | len(payload)]) + bytes(4) + payload)
        data = data[2 + size :]
    return b"".join(frames)
