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
from concurrent.futures import ThreadPoolExecutor

import requests
import websocket

from tests.support.servers import PASSWORD, SignedInUser
from tests.support.subscribers import PATH, SocketIoClient
from tests.support.tokens import mint

from .subscribers import CONNECTION_ERRORS, KINDS, reset

TIMEOUT = 20  # seconds
PLAYERS, MODERATED = 60, 10
MAX_HELD = 60
TOKEN_LIFETIME = 6 * 3600  # seconds: longer than a run
PAGES = ("/healthz", "/readyz", "/metrics", "/", "/admin", "/docs", "/api/openapi.json")
SESSION_PATH = f"{PATH}/?EIO=4&transport=polling"
UPGRADE = (
    b"Host: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: eHh4eHh4eHh4eHh4eHh4eA==\r\n\r\n"
)
HELD_REQUESTS = (
    b"",
    b"GET /api/score",
    b"GET / HTTP/1.1\r\nHost: x\r\n",
    b"POST /api/score/update HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
    b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /ws/scoreboard/?EIO=4&transport=websocket HTTP/1.1\r\n" + UPGRADE,
    b"GET /ws/scoreboard?token=$TOKEN HTTP/1.1\r\n" + UPGRADE,
)
MALFORMED_REQUESTS = (
    b"NONSENSE\r\n\r\n",
    b"GET /healthz HTTP/9.9\r\n\r\n",
    b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
    b"POST /api/score/update HTTP/1.1\r\nContent-Length: x\r\n\r\n",
    b"POST /api/score/update HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
)
REQUESTS = (
    *(("GET", path, 200) for path in PAGES),
    ("GET", "/nowhere", 404),
    ("DELETE", "/api/score/top10", 405),
    ("GET", f"{PATH}?token=none", 426),
    ("GET", f"{SESSION_PATH}&sid=none", 400),
    ("POST", SESSION_PATH, 400),
    ("GET", f"{PATH}/?EIO=4&transport=smoke", 400),
    ("GET", "/api/leaderboard?limit=x", 400),
    ("GET", "/api/leaderboard?cursor=x", 400),
    ("GET", "/api/leaderboard/users/nobody", 400),
    ("GET", f"/api/leaderboard/users/{uuid.uuid4()}", 404),
)
INVALID_BODIES = ("{", "", "null", "[" * 20_000, "x" * 70_000, '{"score_value": 1e300}')
MALFORMED_PACKETS = (
    "", "x", "4", "49", "42", "42{", '42["update_score"', "42[]", "42[7]", '42["other", 1]',
    '451-["update_score",{"_placeholder":true,"num":0}]', "43", "41", "40", "2", "6", "1",
    '421["update_score",null]', '42/other,["update_score",{}]', "4" + "x" * 70_000,
)  # fmt: skip


def new_token(user_id, **claims):
    """Return an access token that is valid for the whole run."""
    return mint(user_id, **{"exp": time.time() + TOKEN_LIFETIME} | claims)


def new_update(user_id):
    """Return the body of an update that is not a replay."""
    return SignedInUser(user_id, "").update(random.randrange(1_000_000), nonce=uuid.uuid4().hex)


class World:
    """The server, its users, and the counts and failures of the actions."""

    def __init__(self, server):
        self.server, self.url = server, server.url
        user_ids = json.loads(server.flask("users", "seed", str(PLAYERS + MODERATED)))
        self.players = [SignedInUser(each, new_token(each)) for each in user_ids[:PLAYERS]]
        self.moderated = user_ids[PLAYERS:]
        self.scorer, self.admin = (self._new_user(role) for role in ("scorer", "admin"))
        self.lock = threading.Lock()
        self.held = deque()  # incomplete requests, oldest first
        self.counts, self.failures = Counter(), []
        for player in self.players:
            server.post(player.token, new_update(player.user_id)).raise_for_status()

    def _new_user(self, role):
        user_id = self.server.user(f"soak-{role}", role).user_id
        return SignedInUser(user_id, new_token(user_id, role=role))

    def run(self, seconds, workers, pause):
        """Run random actions in threads. Blocks. Returns the server's memory once per second."""
        stop, memory, end = threading.Event(), [], time.monotonic() + seconds
        with ThreadPoolExecutor(workers) as executor:
            for _ in range(workers):
                executor.submit(self._work, stop, pause)
            while time.monotonic() < end:
                memory.append(self.server.memory())
                time.sleep(1)
            stop.set()
        while self.held:
            self.close_oldest()
        return memory

    def close_oldest(self):
        """Close or reset the oldest incomplete request."""
        random.choice([reset, socket.socket.close])(self.held.popleft())

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
    """The actions of one worker; they fail if a response has an unexpected status."""

    def __init__(self, world):
        self.world, self.http = world, requests.Session()

    def _request(self, method, path, token=None, statuses=(200,), **options):
        """Send a request and return the response."""
        headers = options.pop("headers", {})
        if token:
            headers["Authorization"] = b"Bearer " + token.encode()
        url = self.world.url + path
        response = self.http.request(method, url, headers=headers, timeout=TIMEOUT, **options)
        found = (method, path, response.status_code, response.text[:300])
        assert response.status_code in statuses, found
        return response

    def _update(self, token, status, user_id):
        update = new_update(user_id)
        return self._request("POST", "/api/score/update", token, (status,), json=update)

    def _auth(self, path, token=None, statuses=(200,), **options):
        return self._request("POST", f"/api/auth/{path}", token, statuses, **options)

    def _admin(self, method, path, statuses=(200,), **options):
        self._request(method, f"/api/admin/{path}", self.world.admin.token, statuses, **options)

    def _player(self):
        return random.choice(self.world.players)

    def submit(self):
        player = self._player()
        update = new_update(player.user_id)
        for status in (200, 400) if random.random() < 0.1 else (200,):
            self._request("POST", "/api/score/update", player.token, (status,), json=update)

    def submit_batch(self):
        updates = [new_update(self._player().user_id) for _ in range(5)]
        token = self.world.scorer.token
        response = self._request("POST", "/api/score/batch", token, json={"updates": updates})
        assert [each["status"] for each in response.json()["results"]] == [200] * 5

    def submit_by_event(self):
        player = self._player()
        transports = random.choice([["polling"], ["websocket"]])
        connection = SocketIoClient(self.world.url, player.token, transports)
        for fields, status in (({}, 200), ({"score_value": "much"}, 400)):
            response = connection.submit(new_update(player.user_id) | fields)
            assert response["status"] == status, response
        connection.close()

    def subscribe(self):
        token = self._auth("viewer").json()["access_token"]
        connection = random.choice(KINDS)(self.world.url, token)
        deadline = time.monotonic() + TIMEOUT
        while not connection.messages and time.monotonic() < deadline:
            connection.read(random.random())
        assert connection.messages
        connection.close()

    def read_board(self):
        player = self._player()
        path = random.choice(
            [
                "/api/score/top10",
                f"/api/leaderboard?limit={random.randint(1, 100)}",
                f"/api/leaderboard/users/{player.user_id}?around={random.randint(0, 50)}",
                f"/api/users/{player.user_id}/scores?limit={random.randint(1, 100)}",
            ]
        )
        response = self._request("GET", path, player.token)
        etag = {"If-None-Match": response.headers["ETag"]}
        self._request("GET", path, player.token, (200, 304), headers=etag)
        if cursor := response.json().get("next"):
            self._request("GET", path, player.token, params={"cursor": cursor})

    def use_account(self):
        name = f"user-{uuid.uuid4().hex[:12]}"
        with self.world.lock:  # the queue in front of the password hash is short
            account = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
            for status in (201, 409):
                self._auth("register", statuses=(status,), json=account)
            self._auth("login", statuses=(401,), json={"username": name, "password": "wrong one"})
            first = self._auth("login", json={"username": name, "password": PASSWORD}).json()
            second = self._auth("refresh", first["refresh_token"]).json()
            self._request("GET", "/api/auth/me", second["access_token"])
            self._auth("refresh", first["refresh_token"])
            self._auth("logout", second["access_token"], statuses=(204,))
            self._request("GET", "/api/auth/me", second["access_token"], (401,))

    def moderate(self):
        for path in ("overview", "audit?after=0", "marks"):
            self._admin("GET", path)
        user_id = random.choice(self.world.moderated)
        with self.world.lock:  # concurrent actions on a user would change each other's statuses
            score_id = self._update(self.world.scorer.token, 200, user_id).json()["score_id"]
            for status in (200, 409):
                path, body = f"scores/{score_id}/void", {"reason": "a test"}
                self._admin("POST", path, (status,), json=body)
            for action in random.choice([("hide", "restore"), ("suspend", "reinstate")]):
                self._admin("POST", f"users/{user_id}/{action}")
            for role in ("scorer", "player"):
                self._admin("POST", f"users/{user_id}/role", json={"role": role})
            token = new_token(user_id)
            self._admin("POST", f"users/{user_id}/end-sessions")
            self._update(token, 401, user_id)

    def send_invalid_body(self):
        token, body = self._player().token, random.choice(INVALID_BODIES)
        headers = {"Content-Type": "application/json"}
        self._request("POST", "/api/score/update", token, (400,), data=body, headers=headers)

    def send_invalid_token(self):
        user_id, other = self._player().user_id, str(uuid.uuid4())
        tokens = [None, "not.a.token", "é" * 10, "x" * 6000, new_token(other)]
        tokens += [new_token(user_id, **claim) for claim in ({"exp": 0}, {"type": "refresh"})]
        self._update(random.choice([*tokens, new_token(user_id, key="k" * 48)]), 401, user_id)

    def send_request(self):
        method, path, status = random.choice(REQUESTS)
        self._request(method, path, None, (status,))

    def send_malformed_request(self):
        with self._connect() as connection:
            connection.sendall(random.choice(MALFORMED_REQUESTS))
            response = b""
            with contextlib.suppress(ConnectionResetError):
                response = connection.recv(4096)
        assert not response or response.split()[1][:1] == b"4" or b" 505 " in response, response

    def send_malformed_packet(self):
        token, is_plain = self._player().token, random.random() < 0.3
        address = self.world.url.replace("http", "ws", 1) + PATH
        address += f"?token={token}" if is_plain else "/?EIO=4&transport=websocket"
        connection = websocket.create_connection(address, timeout=5)
        connection.recv()
        # The server may close the connection, or not respond.
        with contextlib.suppress(*CONNECTION_ERRORS):
            if not is_plain and random.random() < 0.7:
                connection.send("40" + json.dumps({"token": token}))
                connection.recv()
            if random.random() < 0.3:
                connection.sock.sendall(random.randbytes(random.randint(1, 200)))
            else:
                connection.send(random.choice(MALFORMED_PACKETS))
            connection.recv()
        reset(connection.sock)

    def hold_request(self):
        connection = self._connect()
        token = self._player().token.encode()
        connection.sendall(random.choice(HELD_REQUESTS).replace(b"$TOKEN", token))
        self.world.held.append(connection)
        if len(self.world.held) > MAX_HELD:
            self.world.close_oldest()

    def _connect(self):
        return socket.create_connection(("127.0.0.1", self.world.server.port), TIMEOUT)

    def abandon_session(self):
        sid = json.loads(self._request("GET", SESSION_PATH).text[1:])["sid"]
        packet = "40" + json.dumps({"token": self._player().token})
        self._request("POST", f"{SESSION_PATH}&sid={sid}", data=packet)


WEIGHTS = {action: 4 for name, action in vars(Actions).items() if not name.startswith("_")} | {
    Actions.submit: 12,
    Actions.read_board: 12,
    Actions.use_account: 1,  # hashes passwords
}
