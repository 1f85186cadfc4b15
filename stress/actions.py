"""The mixed load of the soak test: valid and invalid requests to every endpoint and transport."""

import contextlib
import json
import random
import socket
import threading
import time
import traceback
import uuid
from collections import Counter, deque

import requests
import websocket

from tests.support.servers import PASSWORD, Person
from tests.support.subscribers import PATH, PlainViewer, SocketIoViewer
from tests.support.tokens import mint

from .subscribers import CONNECTION_ERRORS, reset

TIMEOUT = 20  # seconds
PLAYERS, MODERATED, SUBMITTED = 60, 10, 30
MAX_HELD = 60
TOKEN_LIFETIME = 6 * 3600  # seconds: longer than a run
SERVICE_PATHS = ("/healthz", "/readyz", "/metrics", "/", "/admin", "/docs", "/api/openapi.json")
UPGRADE = (
    b"Host: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: eHh4eHh4eHh4eHh4eHh4eA==\r\n\r\n"
)
INCOMPLETE = (
    b"",
    b"GET /api/score",
    b"GET / HTTP/1.1\r\nHost: x\r\n",
    b"POST /api/score/update HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
    b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /ws/scoreboard/?EIO=4&transport=websocket HTTP/1.1\r\n" + UPGRADE,
)
MALFORMED = (
    b"NONSENSE\r\n\r\n",
    b"GET /healthz HTTP/9.9\r\n\r\n",
    b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
    b"POST /api/score/update HTTP/1.1\r\nContent-Length: x\r\n\r\n",
    b"POST /api/score/update HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
)
REFUSED_REQUESTS = (
    ("GET", "/nowhere", 404),
    ("DELETE", "/api/score/top10", 405),
    ("GET", f"{PATH}?token=none", 426),
    ("GET", f"{PATH}/?EIO=4&transport=polling&sid=none", 400),
    ("POST", f"{PATH}/?EIO=4&transport=polling", 400),
    ("GET", f"{PATH}/?EIO=4&transport=smoke", 400),
    ("GET", "/api/leaderboard?limit=x", 400),
    ("GET", "/api/leaderboard?cursor=x", 400),
    ("GET", "/api/leaderboard/users/nobody", 400),
    ("GET", f"/api/leaderboard/users/{uuid.uuid4()}", 404),
)
INVALID_FIELDS = (
    {"score_value": True},
    {"score_value": 1e300},
    {"timestamp": "tomorrow"},
    {"nonce": "no"},
)
INVALID_BODIES = ("{", "", "null", "[" * 20_000, "x" * 70_000)
PACKETS = (
    "", "x", "4", "49", "42", "42{", '42["update_score"', "42[]", "42[7]", '42["other", 1]',
    '451-["update_score",{"_placeholder":true,"num":0}]', "43", "41", "40", "2", "6", "1",
    '421["update_score",null]', '42/other,["update_score",{}]', "4" + "x" * 70_000,
)  # fmt: skip


class World:
    """The server, its users, and what the load has done. Tokens are signed here."""

    def __init__(self, server):
        self.server, self.url = server, server.url
        count = PLAYERS + MODERATED + SUBMITTED
        user_ids = json.loads(server.flask("users", "seed", str(count)))
        self.players = [Person(each, new_token(each)) for each in user_ids[:PLAYERS]]
        self.moderated = user_ids[PLAYERS : PLAYERS + MODERATED]
        # Only the workload updates these: the history checker must know every update.
        self.submitted = user_ids[PLAYERS + MODERATED :]
        self.scorer, self.admin = (self._new_user(role) for role in ("scorer", "admin"))
        self.locks = {user_id: threading.Lock() for user_id in self.moderated}
        self.held = deque()  # incomplete connections, oldest first
        self.counts, self.failures = Counter(), []
        for player in self.players:
            server.post(player.token, new_update(player.user_id)).raise_for_status()

    def _new_user(self, role):
        user_id = self.server.user(f"soak-{role}", role).user_id
        return Person(user_id, new_token(user_id, role=role))

    def run(self, seconds, workers, pause):
        """Run random actions in threads, with a pause of about `pause` seconds between two.

        Blocks. Returns the server's memory at intervals of a second.
        """
        stop = threading.Event()
        arguments = (stop, pause)
        threads = [
            threading.Thread(target=self._work, args=arguments, daemon=True) for _ in range(workers)
        ]
        for thread in threads:
            thread.start()
        memory, end = [], time.monotonic() + seconds
        while time.monotonic() < end:
            memory.append(self.server.memory())
            time.sleep(1)
        stop.set()
        deadline = time.monotonic() + 2 * TIMEOUT
        for thread in threads:
            thread.join(max(0, deadline - time.monotonic()))
            assert not thread.is_alive(), "a worker does not end"
        while self.held:
            _drop(self.held.popleft())
        return memory

    def _work(self, stop, pause):
        actions = Actions(self)
        while not stop.wait(random.expovariate(1 / pause)):
            [action] = random.choices([*WEIGHTS], [*WEIGHTS.values()])
            self.counts[action.__name__] += 1
            try:
                action(actions)
            except Exception:
                self.failures.append(f"{action.__name__}: {traceback.format_exc()}")
        actions.http.close()


class Actions:
    """The actions of one worker, with its own keep-alive HTTP connection.

    An action raises AssertionError if a response has an unexpected status.
    """

    def __init__(self, world):
        self.world, self.http = world, requests.Session()

    def request(self, method, path, token=None, statuses=(200,), **options):
        """Send a request and return the response."""
        headers = options.pop("headers", {})
        if token:
            headers["Authorization"] = b"Bearer " + token.encode()
        response = self.http.request(
            method, self.world.url + path, headers=headers, timeout=TIMEOUT, **options
        )
        text = response.text[:300]
        assert response.status_code in statuses, (method, path, response.status_code, text)
        return response

    def update(self, token, statuses, update=None, **options):
        """Post one update and return the response."""
        if update:
            options["json"] = update
        return self.request("POST", "/api/score/update", token, statuses, **options)

    def submit(self):
        player = random.choice(self.world.players)
        update = new_update(player.user_id)
        self.update(player.token, (200,), update)
        if random.random() < 0.1:
            self.update(player.token, (400,), update)

    def submit_by_polling(self):
        player = random.choice(self.world.players)
        connection = SocketIoViewer(self.world.url, player.token, ["polling"])
        for fields, status in (({}, 200), ({"score_value": "much"}, 400)):
            response = connection.submit(new_update(player.user_id) | fields)
            assert response["status"] == status, response
        connection.close()

    def subscribe(self):
        token = self.request("POST", "/api/auth/viewer").json()["access_token"]
        connection = PlainViewer(self.world.url, token, random.choice(["query", "subprotocol"]))
        connection.wait_for_count(1)
        connection.close()

    def read_board(self):
        player = random.choice(self.world.players)
        path = random.choice(
            [
                "/api/score/top10",
                f"/api/leaderboard?limit={random.randint(1, 100)}",
                f"/api/leaderboard/users/{player.user_id}?around={random.randint(0, 50)}",
                f"/api/users/{player.user_id}/scores?limit={random.randint(1, 100)}",
            ]
        )
        response = self.request("GET", path, player.token)
        etag = {"If-None-Match": response.headers["ETag"]}
        self.request("GET", path, player.token, (200, 304), headers=etag)
        if cursor := response.json().get("next"):
            self.request("GET", path, player.token, params={"cursor": cursor})

    def read_service_page(self):
        self.request("GET", random.choice(SERVICE_PATHS))

    def use_account(self):
        name = f"user-{uuid.uuid4().hex[:12]}"
        account = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
        self._auth("register", statuses=(201,), json=account)
        if random.random() < 0.2:
            self._auth("register", statuses=(409,), json=account)
            self._auth("login", statuses=(401,), json={"username": name, "password": "wrong one"})
        first = self._auth("login", json={"username": name, "password": PASSWORD}).json()
        second = self._auth("refresh", token=first["refresh_token"]).json()
        self.request("GET", "/api/auth/me", second["access_token"])
        self._auth("refresh", token=first["refresh_token"])
        self._auth("logout", token=second["access_token"], statuses=(204,))
        self.request("GET", "/api/auth/me", second["access_token"], (401,))

    def _auth(self, path, token=None, statuses=(200,), **options):
        return self.request("POST", f"/api/auth/{path}", token, statuses, **options)

    def moderate(self):
        for path in ("overview", "audit?after=0", "marks"):
            self.request("GET", f"/api/admin/{path}", self.world.admin.token)
        user_id = random.choice(self.world.moderated)
        # Concurrent actions on the same user would change each other's statuses.
        with self.world.locks[user_id]:
            random.choice([self._hide, self._void, self._end_sessions, self._suspend])(user_id)
            for role in ("scorer", "player"):
                self._moderate(user_id, "role", json={"role": role})

    def _hide(self, user_id):
        self._moderate(user_id, "hide")
        self._moderate(user_id, "restore")

    def _void(self, user_id):
        receipt = self.update(self.world.scorer.token, (200,), new_update(user_id)).json()
        path, body = f"/api/admin/scores/{receipt['score_id']}/void", {"reason": "a test"}
        for status in (200, 409):
            self.request("POST", path, self.world.admin.token, (status,), json=body)

    def _end_sessions(self, user_id):
        token = new_token(user_id)
        self._moderate(user_id, "end-sessions")
        self.update(token, (401,), new_update(user_id))

    def _suspend(self, user_id):
        self._moderate(user_id, "suspend")
        self.update(new_token(user_id), (401,), new_update(user_id))
        self._moderate(user_id, "reinstate")

    def _moderate(self, user_id, action, **options):
        path = f"/api/admin/users/{user_id}/{action}"
        self.request("POST", path, self.world.admin.token, **options)

    def send_invalid_body(self):
        player = random.choice(self.world.players)
        bodies = [json.dumps(new_update(player.user_id) | each) for each in INVALID_FIELDS]
        body = random.choice([*bodies, *INVALID_BODIES])
        headers = {"Content-Type": "application/json"}
        self.update(player.token, (400,), data=body, headers=headers)

    def send_invalid_token(self):
        player, other = random.sample(self.world.players, 2)
        token = random.choice(
            [
                None,
                "not.a.token",
                "é" * 10,
                "x" * 6000,
                other.token,
                mint(str(uuid.uuid4())),
                mint(player.user_id, key="k" * 48),
                mint(player.user_id, exp=0),
                mint(player.user_id, type="refresh"),
            ]
        )
        self.update(token, (401,), new_update(player.user_id))

    def send_refused_request(self):
        method, path, status = random.choice(REFUSED_REQUESTS)
        self.request(method, path, None, (status,))

    def send_malformed_request(self):
        with self._connect() as connection:
            connection.sendall(random.choice(MALFORMED))
            response = b""
            with contextlib.suppress(ConnectionResetError):
                while b"\r\n" not in response and (data := connection.recv(4096)):
                    response += data
        assert not response or response.split()[1][:1] == b"4" or b" 505 " in response, response

    def send_malformed_packets(self):
        token = random.choice(self.world.players).token
        is_plain = random.random() < 0.3
        address = self.world.url.replace("http", "ws", 1) + PATH
        address += f"?token={token}" if is_plain else "/?EIO=4&transport=websocket"
        connection = websocket.create_connection(address, timeout=5)
        connection.recv()
        # The server may close the connection, or not answer.
        with contextlib.suppress(*CONNECTION_ERRORS):
            if not is_plain and random.random() < 0.7:
                connection.send("40" + json.dumps({"token": token}))
                connection.recv()
            if random.random() < 0.3:
                connection.sock.sendall(random.randbytes(random.randint(1, 200)))
            else:
                connection.send(random.choice(PACKETS))
            connection.recv()
        reset(connection.sock)

    def hold_incomplete_request(self):
        connection = self._connect()
        connection.sendall(random.choice(INCOMPLETE))
        self._hold(connection)

    def hold_unread_subscription(self):
        token = random.choice(self.world.players).token
        connection = self._connect()
        connection.sendall(f"GET {PATH}?token={token} HTTP/1.1\r\n".encode() + UPGRADE)
        self._hold(connection)

    def _connect(self):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(TIMEOUT)
        connection.connect(("127.0.0.1", self.world.server.port))
        return connection

    def _hold(self, connection):
        self.world.held.append(connection)
        if len(self.world.held) > MAX_HELD:
            _drop(self.world.held.popleft())

    def abandon_session(self):
        path = f"{PATH}/?EIO=4&transport=polling"
        sid = json.loads(self.request("GET", path).text[1:])["sid"]
        if random.random() < 0.7:
            packet = "40" + json.dumps({"token": random.choice(self.world.players).token})
            self.request("POST", f"{path}&sid={sid}", data=packet)


WEIGHTS = {
    Actions.submit: 12,
    Actions.submit_by_polling: 4,
    Actions.subscribe: 4,
    Actions.read_board: 12,
    Actions.read_service_page: 4,
    Actions.use_account: 1,
    Actions.moderate: 4,
    Actions.send_invalid_body: 4,
    Actions.send_invalid_token: 4,
    Actions.send_refused_request: 4,
    Actions.send_malformed_request: 4,
    Actions.send_malformed_packets: 4,
    Actions.hold_incomplete_request: 4,
    Actions.hold_unread_subscription: 2,
    Actions.abandon_session: 2,
}


def new_token(user_id, **claims):
    """Return an access token that is valid for the whole run."""
    return mint(user_id, exp=time.time() + TOKEN_LIFETIME, **claims)


def new_update(user_id):
    """Return the body of an update that is not a replay."""
    return Person(user_id, "").update(random.randrange(1_000_000), nonce=uuid.uuid4().hex)


def _drop(connection):
    if random.random() < 0.5:
        reset(connection)
    else:
        connection.close()
