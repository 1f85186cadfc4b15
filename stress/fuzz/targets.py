"""Define the fuzz targets: functions of bytes that must return for any input.

Invariants: no response is a 5xx, no traceback is logged, the database changes only with a success
response, and no connection is left open.
"""

import io
import json
import socket

import wsproto
from wsproto.events import CloseConnection

from scoreboard.realtime.socketio import engine
from scoreboard.realtime.socketio.packets import MAX_MESSAGE_SIZE
from scoreboard.realtime.websocket import connection as websocket

from .world import ROLES, world

# Bytes that an error response may have in addition to the size of the request.
MOST_REFUSED = 16 * 1024
HEADERS = {
    b"authorization": "HTTP_AUTHORIZATION",
    b"connection": "HTTP_CONNECTION",
    b"cookie": "HTTP_COOKIE",
    b"content-length": "CONTENT_LENGTH",
    b"content-type": "CONTENT_TYPE",
    b"if-none-match": "HTTP_IF_NONE_MATCH",
    b"origin": "HTTP_ORIGIN",
    b"query": "QUERY_STRING",
    b"upgrade": "HTTP_UPGRADE",
    b"sec-websocket-key": "HTTP_SEC_WEBSOCKET_KEY",
    b"sec-websocket-protocol": "HTTP_SEC_WEBSOCKET_PROTOCOL",
    b"sec-websocket-version": "HTTP_SEC_WEBSOCKET_VERSION",
    b"x-request-id": "HTTP_X_REQUEST_ID",
}


def http_body(data):
    """Send the body after the first line to the endpoint named in it: `scores.update player`."""
    first, _, body = data.partition(b"\n")
    here = world()
    with here.watched():
        _ask(here, *_asked(here, first), here.filled(body))
        _leave(here)


def http_headers(data):
    """Request the endpoint in the first line, with the headers, query and path suffix below it."""
    first, *lines = data.split(b"\n")
    here = world()
    method, path, given = _asked(here, first)
    for line in lines:
        name, _, value = line.partition(b":")
        if name == b"suffix":
            path += value.decode("latin-1")
        elif name in HEADERS:
            given[HEADERS[name]] = here.filled(value).strip().decode("latin-1")
    with here.watched():
        _ask(here, method, path, given, b'{"role": "player"}')
        _leave(here)


def socketio_packets(data):
    """Send packets, separated by \\x1e, by WebSocket; if the first byte is odd, connect first."""
    here = world()
    with here.watched():
        session, playing = _playing(here, connected=_is_odd(data))
        for packet in here.filled(data[1:]).split(b"\x1e"):
            text = packet.decode(errors="replace")
            session.websocket.on_message(text)
        playing.end()


def engineio_payload(data):
    """Post a payload to a polling session; if the first byte is odd, connect first."""
    here = world()
    with here.watched():
        session = _session(here)
        if _is_odd(data):
            _connect(here, session)
        given = {"QUERY_STRING": f"EIO=4&transport=polling&sid={session.sid}"}
        _ask(here, "POST", "/ws/scoreboard/", given, here.filled(data[1:]))
        _leave(here)


def websocket_frames(data):
    """Send bytes to a WebSocket: raw if the first byte is `r`, else as masked frames.

    Each frame is given as the first byte of its header, its length, and its payload.
    """
    here = world()
    with here.watched():
        _, playing = _playing(here, connected=True)
        sent = here.filled(data[1:])
        playing.send(sent if data[:1] == b"r" else _masked(sent))
        playing.end()


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


def _asked(here, line):
    """Return the method, path and headers for a line; unknown names are mapped to known ones."""
    name, _, role = line.decode("latin-1").partition(" ")
    known = endpoints(here.app)
    if name not in known:
        name = sorted(known)[sum(line) % len(known)]
    method, path = known[name]
    path = path.replace("<user_id>", here.people["player"].user_id).replace("<score_id>", "1")
    role = role if role in ROLES or role == "nobody" else ROLES[len(line) % len(ROLES)]
    if role == "nobody":
        return method, path, {}
    return method, path, {"HTTP_AUTHORIZATION": f"Bearer {here.people[role].token}"}


def _ask(here, method, path, given, body):
    """Send a request and check the response; a WebSocket's client sends nothing after it."""
    environ = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(body)),
        "REMOTE_ADDR": "127.0.0.1",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "5000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "localhost:5000",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.input_terminated": True,
        "wsgi.errors": io.StringIO(),
        "wsgi.version": (1, 0),
        **given,
    }
    told = []
    ours, theirs = socket.socketpair()
    theirs.shutdown(socket.SHUT_WR)
    environ["werkzeug.socket"] = ours
    with ours, theirs:
        try:
            answer = here.app.wsgi_app(environ, lambda status, headers, *_: told.append(status))
            answered = b"".join(answer)
            getattr(answer, "close", lambda: None)()
        except ConnectionError:  # how a WebSocket ends with the server of `flask run`
            answered = theirs.recv(65536)
            assert answered.startswith(b"HTTP/1.1 101 ")
            told.append("101")
    _look_at(int(told[0][:3]), answered, path, len(body) + sum(map(len, given.values())))
    # A GET changes nothing, and the events in a session's POST have their own acknowledgements.
    if method == "POST" and told[0].startswith("2") and not path.startswith("/ws"):
        if path.startswith("/api/score"):
            here.record(_receipts(answered))
        else:
            here.accept()
            here.renew_people()


def _receipts(answered):
    """Return how many updates a response reports as recorded, for one update or a batch."""
    told = json.loads(answered)
    return sum(each["status"] == 200 for each in told.get("results", [{"status": 200}]))


def _look_at(status, answered, path, size):
    assert status < 500, (status, answered)
    if status < 400:
        return
    assert len(answered) <= MOST_REFUSED + size, len(answered)
    if not path.startswith("/ws/scoreboard/"):  # Engine.IO has its own error format
        error = json.loads(answered)["error"]
        assert {"code", "message"} <= error.keys() <= {"code", "message", "fields", "receipt"}


def _session(here):
    """Return a new Engine.IO session of the application, with the polling transport."""
    request = {"REQUEST_METHOD": "GET", "QUERY_STRING": "EIO=4", "REMOTE_ADDR": "127.0.0.1"}
    here.engine.handle_request(request, lambda *answer: None)
    return next(iter(here.engine.sockets.values()))


def _connect(here, session):
    token = here.people["scorer"].token
    session.receive(engine.message("0" + json.dumps({"token": token})))
    assert any(each.caller for each in here.connections._all), "not connected"


def _leave(here):
    """Close every Engine.IO session."""
    for session in list(here.engine.sockets.values()):
        session.close(wait=False, abort=True)
        here.engine.sockets.pop(session.sid, None)


def _playing(here, connected):
    """Return a session that has upgraded to a WebSocket, and the client's side of it."""
    session = _session(here)
    playing = _Playing()
    session.open_websocket(playing.websocket)
    for text in ("2probe", "5"):
        session.websocket.on_message(text)
    if connected:
        _connect(here, session)
    return session, playing


class _Playing:
    """A server-side WebSocket and the client connected to it."""

    def __init__(self):
        self._server, self._client = socket.socketpair()
        self._server.setblocking(False)
        self._client.setblocking(False)
        self.websocket = websocket.WebSocket(self._server, MAX_MESSAGE_SIZE)
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

    def end(self):
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
                closed = [number for number, each in enumerate(events) if _closes(each)]
                assert not closed or closed == [len(events) - 1], events
        except BlockingIOError:
            pass


def _closes(event):
    if not isinstance(event, CloseConnection):
        return False
    assert event.code not in (1006, websocket.INTERNAL_ERROR), event
    return True


def _masked(data):
    """Return the frames that the bytes describe, with a mask of zeros; see `websocket_frames`."""
    frames, data = [], memoryview(data)
    while data:
        head, size = data[0], (data[1] if len(data) > 1 else 0) % 126
        payload = bytes(data[2 : 2 + size])
        frames.append(bytes([head, 0x80 | len(payload)]) + bytes(4) + payload)
        data = data[2 + size :]
    return b"".join(frames)
